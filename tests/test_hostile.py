"""Hostile files and servers: nothing is executed, memory stays bounded, an error says why."""

import gzip
import hashlib
import io
import json
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from processes import running, wait_until
from servers import Server
from stored import forged

from gradlab import datasets, npz, weights
from gradlab.datasets import idx, mnist
from gradlab.errors import DataError, DownloadError, OptionError, WeightsError

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="address-space limits are Linux's")


# Bombs: a few kilobytes that declare, or unpack to, more memory than any machine has.


def zip_of(**members):
    """Return a compressed archive of these members, given as bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(shape, data=b"", descr="<f8"):
    """Return the bytes of an ``.npy`` file with this header."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def restated(archive, size):
    """Make an archive state this size for its contents."""
    with zipfile.ZipFile(io.BytesIO(archive)) as read:
        (member,) = read.infolist()
        true = struct.pack("<I", member.file_size)
    assert archive.count(true) == 2
    return archive.replace(true, struct.pack("<I", size))


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape, begin, end, dtype="F64"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def laughs(tail, depth=200):
    """Return a pickle of nested tuples, whose text would have 2**depth characters, and a tail."""
    program = b"}S'W'\n" + b"N"
    return program + b"\x85" + b"2\x86" * depth + tail


ZEROS = bytes(2**26)
NAN = np.array([1.0, np.nan])


def bombs():
    """Return hostile files: suffix, bytes, text of the error."""
    promise = npy((2**40,), bytes(8))
    pickled = io.BytesIO()
    np.save(pickled, np.array([print, None]), allow_pickle=True)
    nan = io.BytesIO()
    np.savez(nan, W1=NAN)
    array = pickle.dumps({"W": np.zeros(2)}, 4)
    array_of_256_kib = np.zeros(2**15)
    return {
        "npz that unpacks": (
            ".npz",
            restated(zip_of(W1=npy((2**23,), ZEROS)), 2**30 + 1),
            "take 1073741825 bytes, more than",
        ),
        "npz that understates": (
            ".npz",
            restated(zip_of(W1=npy((2**23,), ZEROS)), 200),
            "W1 cannot be read",
        ),
        "npz that promises": (".npz", zip_of(W1=promise), "promises 8796093022208 bytes"),
        "npz of a negative shape": (
            ".npz",
            zip_of(W1=npy((-1, -1), bytes(8))),
            "W1 cannot be read",
        ),
        "npz of texts without end": (
            ".npz",
            zip_of(W1=npy((1,), bytes(4), f"<U{2**28}")),
            "promises",
        ),
        "npz of objects": (".npz", zip_of(W1=pickled.getvalue()), "objects are programs"),
        "npz of records": (".npz", zip_of(W1=npy((1,), bytes(8), [("a", "<f8")])), "dtype"),
        "npz of NaN": (".npz", nan.getvalue(), r"W1\[1\] is nan; every entry must be finite"),
        "npz of huge integers": (
            ".npz",
            zip_of(W1=npy(f"({'9' * 5000},)")),
            "W1 cannot be read",
        ),
        "pickle with a large memo": (".pkl", b"}r\xff\xff\xff\xff.", "no arrays"),
        "pickle of long bytes": (
            ".pkl",
            b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
            "damaged one",
        ),
        "pickle of a long bytearray": (
            ".pkl",
            b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
            "damaged one",
        ),
        "pickle of a long frame": (
            ".pkl",
            b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
            "no arrays",
        ),
        "pickle that names one array 5,000 times": (
            ".pkl",
            pickle.dumps({f"W{i}": array_of_256_kib for i in range(5000)}, 4),
            "its arrays take more than the 1073741824 bytes",
        ),
        "pickle of arrays that share their bytes": (
            ".pkl",
            pickle.dumps([array_of_256_kib.view(np.float32), *[array_of_256_kib] * 4200], 0),
            "its arrays take more than the 1073741824 bytes",
        ),
        "pickle of a long integer": (".pkl", b"I" + b"9" * 5000 + b"\n.", "damaged one"),
        "pickle whose shape multiplies": (
            ".pkl",
            array.replace(b"K\x02\x85", b"\x8c\x01a" + b"\x8a\x06" + b"\xff" * 5 + b"\0\x86")[:2]
            + array.replace(b"K\x02\x85", b"\x8c\x01a" + b"\x8a\x06" + b"\xff" * 5 + b"\0\x86")[
                11:
            ],
            "its shape is not a tuple of sizes",
        ),
        "pickle whose text explodes": (".pkl", laughs(b"s."), "nests more than"),
        "pickle whose codec explodes": (
            ".pkl",
            b"}S'W'\nc_codecs\nencode\n(S'x'\nN\x85" + b"2\x86" * 200 + b"tRs.",
            "W is not an array",
        ),
        "pickle that renames": (
            ".pkl",
            b"}S'W'\ncnumpy\ndtype\n(N}S'name'\nN\x85" + b"2\x86" * 200 + b"stb)Rs.",
            "it changes dtype",
        ),
        "safetensors that overlap": (
            ".safetensors",
            safetensors({"a": tensor([2], 0, 16), "b": tensor([2], 8, 24)}, bytes(24)),
            "damaged one",
        ),
        "safetensors with a hole": (
            ".safetensors",
            safetensors({"a": tensor([1], 0, 8), "b": tensor([1], 16, 24)}, bytes(24)),
            "damaged one",
        ),
        "safetensors that promise": (
            ".safetensors",
            safetensors({"a": tensor([2**40], 0, 2**43)}, bytes(8)),
            "damaged one",
        ),
        "safetensors of an overflow": (
            ".safetensors",
            safetensors({"a": tensor([2**40, 2**40], 0, 0)}),
            "damaged one",
        ),
        "safetensors with a long header": (
            ".safetensors",
            struct.pack("<Q", 2**62) + b"{}",
            "damaged one",
        ),
        "safetensors of nested brackets": (
            ".safetensors",
            safetensors(b"[" * 100_000),
            "damaged one",
        ),
        "safetensors of huge integers": (
            ".safetensors",
            safetensors(b'{"a": {"dtype": "F64", "shape": [' + b"9" * 9000 + b"]}}"),
            "damaged one",
        ),
        "safetensors of NaN": (
            ".safetensors",
            safetensors({"a": tensor([2], 0, 16)}, NAN.tobytes()),
            r"a\[1\] is nan; every entry must be finite",
        ),
    }


BOMBS = bombs()


@pytest.mark.parametrize("kind", BOMBS)
def test_hostile_weights_are_refused(tmp_path, kind):
    suffix, data, said = BOMBS[kind]
    path = tmp_path / f"hostile{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=f"hostile{suffix}: .*{said}") as caught:
        weights.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


LIMITED = """
    import resource, sys, pathlib
    from gradlab import datasets, weights
    from gradlab.datasets import idx
    from gradlab.errors import GradlabError
    import safetensors.numpy  # what is imported late is no part of what a file costs

    kind, path = sys.argv[1:]
    room = 2**29
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    def peak():
        status = pathlib.Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    before = peak()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
    for file in sorted(pathlib.Path(path).iterdir()):
        for read in {"weights": [weights.load, weights.load_metadata],
                     "data": [datasets.load], "idx": [idx.read]}[kind]:
            try:
                read(file)
            except GradlabError as error:
                assert len(str(error)) < 1000
            else:
                assert read is weights.load_metadata, file
    print(round((peak() - before) / 1024))
"""


def limited(kind, folder):
    """Read a folder's files with 512 MiB of memory beyond Python's own; return the peak in MiB."""
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), kind, str(folder)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@on_linux
def test_hostile_weights_take_no_memory(tmp_path):
    for i, (suffix, data, _) in enumerate(BOMBS.values()):
        (tmp_path / f"{i}{suffix}").write_bytes(data)
    with (tmp_path / "sparse.npz").open("wb") as sparse:
        sparse.truncate(2**40)
    (tmp_path / "null.pkl").symlink_to("/dev/zero")
    assert limited("weights", tmp_path) < 32  # MiB


@on_linux
def test_hostile_data_take_no_memory(tmp_path):
    x = npy((2**23, 1), ZEROS)
    array = np.zeros(2**18)
    files = {
        "promise.npz": zip_of(x=npy((2**40, 1)), y=npy((2**40,))),
        "understated.npz": restated(zip_of(x=x), 200),
        "objects.npz": zip_of(x=npy((1, 1), bytes(8), "|O"), y=npy((1,), bytes(8), "|O")),
        "again.pkl": pickle.dumps({f"x{i}": array for i in range(600)}),
        "deep.pkl": laughs(b"s."),
        "hashed.pkl": b"}N" + b"\x85" + b"2\x86" * 100 + b"Ns.",
        "stacked.pkl.gz": gzip.compress(b"(" * 2**18, 1),
        "nulls.csv.gz": gzip.compress(bytes(2**18), 1),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert limited("data", tmp_path) < 32  # MiB


@on_linux
def test_hostile_idx_files_take_no_memory(tmp_path):
    def header(*sizes, code=0x08):
        return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)

    files = {
        "terabytes": header(2**32 - 1, 2**10),
        "a gigabyte": header(2**30),
        "dimensions": header(*[2**32 - 1] * 255),
        "none": header(0, *[2**32 - 1] * 4),
        "bomb.gz": gzip.compress(header(2**10) + ZEROS, 1),
        "many.gz": gzip.compress(header(2**10) + bytes(2**20), 1) * 200,
        "promise.gz": gzip.compress(header(2**30), 1),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match="promises"):
            idx.read(tmp_path / name)
    assert limited("idx", tmp_path) < 32  # MiB


def test_the_limits_are_those_in_the_documentation(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    weights.save(path, {"W1": np.ones(100), "W2": np.ones(100)})
    size = path.stat().st_size
    monkeypatch.setattr(weights, "MAX_FILE_BYTES", size)
    weights.load(path)
    monkeypatch.setattr(weights, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(WeightsError, match=f"weights.npz: larger than the {size - 1} bytes"):
        weights.load(path)
    (tmp_path / "w.pkl.gz").write_bytes(gzip.compress(pickle.dumps(bytes(size))))
    monkeypatch.setattr(weights, "MAX_UNPACKED_BYTES", size)
    with pytest.raises(WeightsError, match=f"unpacks to more than the {size} bytes"):
        weights.load(tmp_path / "w.pkl.gz")
    unpacked = 2 * (128 + 800)
    assert npz.read(path, unpacked).keys() == {"W1", "W2"}
    with pytest.raises(ValueError, match=f"take {unpacked} bytes, more than the {unpacked - 1}"):
        npz.read(path, unpacked - 1)
    assert weights.MAX_FILE_BYTES < idx.MAX_ARRAY_BYTES == 2**30


def test_a_name_that_an_archive_holds_twice_is_refused(tmp_path):
    path = tmp_path / "twice.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("W1.npy", npy((1,), bytes(8)))
        archive.writestr("W1", npy((1,), bytes(8)))
    with pytest.raises(WeightsError, match="it holds one name twice"):
        weights.load(path)


@pytest.mark.parametrize("name", ["../W1", "/etc/passwd", "a/../../b"])
def test_names_that_climb_are_only_names(tmp_path, name):
    path = tmp_path / "inner" / "climbs.npz"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.npy", npy((1,), bytes(8)))
    assert weights.load(path).keys() == {name}
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", "climbs.npz"]


@pytest.mark.parametrize("comment", [b'{"a": 1' + b"0" * 9000 + b"}", b"[" * 60_000, b'{"a": NaN}'])
def test_hostile_json_is_refused(tmp_path, comment):
    path = tmp_path / "weights.npz"
    weights.save(path, {"W1": np.ones(2)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment
    with pytest.raises(WeightsError, match=r"weights\.npz: "):
        weights.load_metadata(path)


def test_the_pickle_of_a_bomb_is_well_formed():
    """Only its size makes `laughs` unreadable."""
    pickletools.dis(laughs(b"s.", depth=3), io.StringIO())
    assert pickle.loads(laughs(b"s.", depth=2)) == {"W": (((None,), (None,)),) * 2}


SLOPES = {
    "no options": lambda h, a: (h | {"options": None}, a),
    "options of another": lambda h, a: (h | {"options": h["options"] | {"method": "forward"}}, a),
    "a list": lambda h, a: ([], a),
    "nesting without end": lambda h, a: (b"{" * 10_000, a),
    "arrays of terabytes": lambda h, a: (h | {"arrays": [["<f8", [2**40]]]}, a),
    "arrays of objects": lambda h, a: (h | {"arrays": [["|O", [2]], ["|b1", [2]]]}, a),
    "another shape": lambda h, a: (h | {"arrays": [["<f8", [2, 1]], ["|b1", [2]]]}, a),
    "missing bytes": lambda h, a: (h, a[:-1]),
    "bytes left over": lambda h, a: (h, a + bytes(2**20)),
    "steps of text": lambda h, a: (h | {"steps": ["fine", False]}, a),
    "finer steps": lambda h, a: (h | {"steps": [1e-30, False]}, a),
}


@pytest.mark.parametrize("forgery", SLOPES)
def test_a_forged_file_of_slopes_is_refused(tmp_path, forgery):
    from gradlab import CentralDifference, grad

    path = tmp_path / "partial"
    calls = 0

    def loss(p):
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return (p**2).sum()

    f = grad(loss, CentralDifference(resume=path, incremental=False))
    with pytest.raises(KeyboardInterrupt):
        f(np.ones(2))
    path.write_bytes(forged(path.read_bytes(), SLOPES[forgery]))
    with pytest.raises(OptionError, match=r"not a partial gradient that gradlab|another gradient"):
        f(np.ones(2))


# Downloads

DATA = gzip.compress(np.random.default_rng(0).bytes(400_000), 1)
SHA256 = hashlib.sha256(DATA).hexdigest()


def send(request, *pieces):
    """Send the start of the data, and then these pieces."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(DATA)))
    request.end_headers()
    for piece in pieces:
        request.wfile.write(piece)


def at_once(request):
    send(request, DATA)


def slowly(request):
    """Send the data in pieces, over a third of a second."""
    send(request)
    for start in range(0, len(DATA), len(DATA) // 20):
        request.wfile.write(DATA[start : start + len(DATA) // 20])
        time.sleep(1 / 60)


def downloading(url, cache):
    code = """
        import sys
        from pathlib import Path
        from gradlab.datasets import mnist
        mnist.download(Path(sys.argv[1]), [sys.argv[2]], {"data": sys.argv[3]})
    """
    command = [sys.executable, "-c", textwrap.dedent(code), cache, url, SHA256]
    return running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_processes_may_download_at_once(tmp_path):
    final = tmp_path / "data.gz"
    with (
        Server(slowly) as server,
        downloading(server.url, tmp_path) as one,
        downloading(server.url, tmp_path) as other,
    ):
        while one.poll() is None or other.poll() is None:
            if final.exists():
                assert final.read_bytes() == DATA  # never a part of it
            time.sleep(0.002)
        for process in (one, other):
            _, complaints = process.communicate()
            assert (process.returncode, complaints) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["data.gz"]


def sizes(folder):
    """Return the sizes of the files in a folder, some of which may be renamed meanwhile."""
    found = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            found[path.name] = path.stat().st_size
    return found


def test_a_download_that_is_killed_leaves_no_part_under_the_name(tmp_path):
    killed = threading.Event()

    def half(request):
        """Send half of the data, and the rest once the process that requested it is killed."""
        send(request, DATA[: len(DATA) // 2])
        killed.wait()
        request.wfile.write(DATA[len(DATA) // 2 :])

    with Server(half) as server:
        try:
            with downloading(server.url, tmp_path) as process:
                wait_until(lambda: any(sizes(tmp_path).values()), process)
                process.kill()
                process.wait()
                assert "data.gz" not in sizes(tmp_path)
        finally:
            killed.set()
    with Server(at_once) as server:
        mnist.download(tmp_path, [server.url], {"data": SHA256})
    assert (tmp_path / "data.gz").read_bytes() == DATA


def test_a_server_that_never_ends_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "MAX_DOWNLOAD_BYTES", len(DATA))

    def endlessly(request):
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(2**16))

    with Server(endlessly) as server, Server(at_once) as good:
        with pytest.raises(DownloadError, match=f"it sends more than {len(DATA)} bytes"):
            mnist.download(tmp_path, [server.url], {"data": SHA256})
        assert not list(tmp_path.iterdir())
        (path,) = mnist.download(tmp_path, [server.url, good.url], {"data": SHA256})
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("name", ["../data", "/tmp/data", "a/b", "..\\..\\data/x"])
def test_a_name_that_climbs_out_of_the_cache_is_refused(tmp_path, name):
    with pytest.raises(DownloadError, match="is not the name of a file in"):
        mnist.download(tmp_path / "cache", ["http://127.0.0.1:1/"], {name: SHA256})
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_mirrors_speak_https():
    assert all(mirror.startswith("https://") for mirror in mnist.MIRRORS)
    assert datasets.NAMES == ("digits", "mnist")
