"""On Windows: a worker and all that it has started, which ends with it: a job, as the system calls that."""

from __future__ import annotations

import ctypes
from ctypes import get_last_error, wintypes  # type: ignore[attr-defined,unused-ignore]
from struct import Struct

_EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
_LIMITS = Struct("@qqLNNLNLL6Q4N")  # JOBOBJECT_EXTENDED_LIMIT_INFORMATION; the third are its flags
# Who starts a program that shall outlive the job says so, which would fail without the first of these.
_FLAGS = 0x800 | 0x2000  # JOB_OBJECT_LIMIT_BREAKAWAY_OK, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
_kernel.CreateJobObjectW.restype = wintypes.HANDLE
_kernel.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
_kernel.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
_kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
_kernel.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
_kernel.CloseHandle.argtypes = (wintypes.HANDLE,)


class Family:
    """A process, and all that it starts from now on; the system ends it when the job's handle is closed.

    That is at the latest when this program ends, however it does.

    Parameters
    ----------
    process : int
        The handle of the process.

    Raises
    ------
    OSError
        If it cannot be put into a job.
    """

    def __init__(self, process: int) -> None:
        self._handle = _kernel.CreateJobObjectW(None, None)
        limits = _LIMITS.pack(0, 0, _FLAGS, *(0,) * 16)
        if not (
            self._handle
            and _kernel.SetInformationJobObject(self._handle, _EXTENDED_LIMITS, limits, len(limits))
            and _kernel.AssignProcessToJobObject(self._handle, process)
        ):
            code = get_last_error()
            self.close()
            raise OSError(0, "no job", None, code)

    def kill(self) -> None:
        """End all that is in the job, now."""
        _kernel.TerminateJobObject(self._handle, 1)

    def close(self) -> None:
        """End the job, and what is still in it."""
        _kernel.CloseHandle(self._handle)
