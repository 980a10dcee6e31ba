"""Clocks. One place, so that everything measured is measured alike."""

from __future__ import annotations

from time import monotonic, perf_counter, process_time, thread_time, time

__all__ = ["monotonic", "perf_counter", "process_time", "thread_time", "time"]
