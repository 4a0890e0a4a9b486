"""Figures of speed and memory, as ratios taken side by side in one run: ``./dev bench``."""

import logging

import structlog

# As a server has it, which is not told to say more.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
