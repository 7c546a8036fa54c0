"""The ``gradlab`` command: each verb calls the library, shows a table and writes a folder.

Exit codes: 0 fine, 1 the run failed, 2 wrong usage; for ``check``, 1 is a gradient that is wrong or
could not be told, 2 one that could not be checked. Whatever a user can do wrong ends in one line on
the standard error.

In reading order: ``main`` finds the verb and turns errors into exit codes, ``application`` is the
command without a verb; one file a verb (``compare``, ``train``, ``evaluate``, ``bench``, ``demo``,
``check``); ``arguments`` has the options that several take, ``networks`` makes gradlab's network of
them, ``results`` is the folder that a verb writes, ``console`` what it says.
"""
