"""Machine code for a module, by llvmlite; from the disk where it has been compiled before."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled import disk
from gradlab.gradients.tape.compiled.entry import addresses
from gradlab.gradients.tape.compiled.module import Module
from gradlab.gradients.tape.compiled.plan import Product
from gradlab.gradients.tape.compiled.products import Tile
from gradlab.gradients.tape.compiled.sharing import JOB_OFFSET, OPEN_OFFSET, pause, with_helpers
from gradlab.gradients.tape.memory import reserve


@cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def features() -> str:
    """Return the features of this processor, as LLVM writes them."""
    return str(_llvm().get_host_cpu_features().flatten())


@cache
def tile() -> Tile:
    """Return the tile for this processor."""
    known = features().split(",")
    if "+avx512f" in known:
        return Tile(64, 24, 4)
    if "+avx2" in known:
        return Tile(32, 12, 2)
    return Tile(16, 24, 4) if "+neon" in known else Tile(16, 8, 2)


def _target(llvm: Any) -> Any:
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features(), opt=2, jit=True
    )


@cache
def _settings() -> tuple[str, ...]:
    """Return what machine code depends on beside its source: versions and the processor."""
    from importlib.metadata import version  # slow to import, and needed only here

    from gradlab.environment import describe

    llvm = _llvm()
    versions = describe().get("gradlab", ""), version("llvmlite"), llvm.llvm_version_info
    machine = llvm.get_process_triple(), llvm.get_host_cpu_name(), features()
    return *map(str, versions), *machine


def machine_code(module: Module) -> bytes:
    """Return the machine code of a module: from the disk, or compiled and kept there.

    The name in the cache stands for all that the code depends on. Addresses are not part of it: the
    code reads them from a table, at each call.
    """
    name = disk.name_of(module.source, *_settings())
    code = disk.stored(name)
    if code is None:
        code = compiled(module)
        disk.store(name, code)
    return code


def compiled(module: Module) -> bytes:
    """Compile a module."""
    llvm = _llvm()
    machine = _target(llvm)
    parsed = llvm.parse_assembly(module.source)
    parsed.verify()
    parsed.triple = llvm.get_process_triple()
    parsed.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    return bytes(machine.emit_object(parsed))


class NativeReplay:
    """``replay((*inputs, *outs)) -> loss``; the derivatives are written into `outs`.

    The result is minus infinity if the arrays are not those that the code was made for, and NaN if
    a leaf or a derivative is not finite.
    """

    __slots__ = ("_at", "_call", "_constants", "_held", "_help", "_norm", "_open", "_table")

    def __init__(self, module: Module, call: Any, help: Any, table: Any, held: Any) -> None:
        memory = reserve(module.nbytes)
        self._call, self._at, self._table = call, memory.ctypes.data, table.ctypes.data
        self._constants = module.constants
        self._norm = memory[:8].view(float)
        self._open = memory[OPEN_OFFSET : OPEN_OFFSET + 8].view(np.int64)
        memory[JOB_OFFSET : OPEN_OFFSET + 8] = 0
        self._help = partial(self._lend, help) if help else None
        self._held = held, table  # what the addresses point to

    def __call__(self, arrays: tuple[Any, ...]) -> float:
        """Run the code."""
        value: float
        if self._help is None:  # as the next lines, in less time
            value = self._call(arrays + self._constants, self._at, self._table)
        else:
            with self.helped():
                value = self._call(arrays + self._constants, self._at, self._table)
        return value

    def helped(self) -> AbstractContextManager[None]:
        """Have other threads help while the code runs, if it has large products."""
        return nullcontext() if self._help is None else with_helpers(self._help, self._open)

    def _lend(self, help: Any) -> None:
        """Help in a call, in another thread."""
        help(self._at + JOB_OFFSET, pause())

    @property
    def constants(self) -> tuple[Any, ...]:
        """The arrays that follow inputs and results in the tuple."""
        return self._constants

    @property
    def addresses(self) -> tuple[int, int, int]:
        """The addresses of the code, its memory and its table, for other machine code."""
        code = ctypes.cast(self._call, ctypes.c_void_p).value
        assert code is not None
        return code, self._at, self._table

    @property
    def norm(self) -> float:
        """The squared norm of the leaves, of the last call that was answered."""
        found: float = self._norm.item()
        return found


@dataclass(frozen=True)
class Native:
    """A program as machine code in this process.

    Attributes
    ----------
    module : Module
        What was compiled.
    """

    module: Module
    _call: Any = field(repr=False)
    _help: Any = field(repr=False)
    _table: Any = field(repr=False)
    _engine: Any = field(repr=False)  # holds the code

    def build(self) -> NativeReplay:
        """Return a replay, which works in one thread at a time."""
        return NativeReplay(self.module, self._call, self._help, self._table, self)

    def describe(self) -> str:
        """Say what the code consists of."""
        products = sum(isinstance(step, Product) for step in self.module.steps)
        loops = len(self.module.steps) - products
        return f"{products} products and {loops} fused loops, {self.module.nbytes / 1024:,.0f} kB"


def link(code: bytes) -> Any:
    """Link machine code into this process, and return the engine that holds it."""
    llvm = _llvm()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target(llvm))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def load(module: Module, code: bytes) -> Native:
    """Link the machine code of a program into this process."""
    engine = link(code)
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_double, ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p
    )
    call = prototype(engine.get_function_address("call"))
    help = None
    if module.is_shared and pause():
        lend = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
        help = lend(engine.get_function_address("help"))
    return Native(module, call, help, addresses(module.calls), engine)
