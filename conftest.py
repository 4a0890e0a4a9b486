"""What every test starts from."""

import signal

# Under nohup, or in the background of a script, children would inherit that they ignore these two: a closed
# terminal would end nobody, and Ctrl-C interrupt nobody.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
