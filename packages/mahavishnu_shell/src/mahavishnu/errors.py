"""What a caller of this package can act on."""


class MahavishnuError(Exception):
    """The base of all; its text is the one line that a user reads."""


class SettingsError(MahavishnuError):
    """A setting cannot be used; the text names the file and line, or the variable, and what is allowed."""
