"""SHA-1 and SHA-256, without the library that ``hashlib`` loads: OpenSSL's would be a tenth of our start.

The standard library's own ``random`` does the same.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha1, sha256
else:
    try:
        from _sha1 import sha1

        try:
            from _sha2 import sha256
        except ImportError:  # before 3.12
            from _sha256 import sha256
    except ImportError:  # another build of Python
        from hashlib import sha1, sha256

__all__ = ["sha1", "sha256"]
