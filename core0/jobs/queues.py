"""
Serial queues: of the jobs that name the same queue, one at a time has the turn.
"""

from collections import OrderedDict

from core0.jobs.job import Job


class Queues:
    """
    A queue exists while a job is in it.
    """

    def __init__(self) -> None:
        self._queues: dict[str, OrderedDict[Job, None]] = {}  # of thousands any may leave at once

    def enter(self, job: Job) -> bool:
        """
        :returns: whether it is the job's turn at once; always, if it names no queue.
        """
        name = job.command.queue
        if not name:
            return True
        queue = self._queues.setdefault(name, OrderedDict())
        queue[job] = None
        job.queued = True
        return len(queue) == 1

    def leave(self, job: Job) -> Job | None:
        """
        :returns: the job whose turn it is now, if it was this one's.
        """
        name = job.command.queue
        if not name or not job.queued:
            return None
        job.queued = False
        queue = self._queues[name]
        had_turn = next(iter(queue)) is job
        del queue[job]
        if not queue:
            del self._queues[name]
            return None
        return next(iter(queue)) if had_turn else None
