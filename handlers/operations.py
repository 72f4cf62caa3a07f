"""What operators and their machines ask: metrics, is it alive, is it ready."""

from gtower_realtime.answers import Alive, LoopStuck, NotReady, Ready
from gtower_realtime.errors import NotFound, RealtimeError
from handlers.base import ApiHandler, BaseHandler
from handlers.routes import Route


class MetricsHandler(ApiHandler):
    """All metrics in the Prometheus text format."""

    scope = "read"

    def get(self) -> None:
        """Answer with the exposition."""
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish(self.context.metrics.exposition())


class HealthHandler(BaseHandler):
    """Whether the process is alive; slow to fail, as the cure is a restart."""

    def get(self) -> None:
        """Answer 200, or 503 when the loop was late all the time for half a minute."""
        loop = self.context.loop
        answer = {"loopLagSeconds": round(loop.largest_lag, 3)}
        if loop.is_stuck:
            self.reply(503, {"status": "failing", "failing": ["loop"], **answer})
        else:
            self.reply(200, {"status": "ok", **answer})


class ReadinessHandler(BaseHandler):
    """Whether new connections should be sent here; fast to fail, and to be well again."""

    def get(self) -> None:
        """Answer 200, or 503 naming the failing parts: ``draining``, ``store``, ``loop``."""
        failing = self.context.service.failing_parts()
        if self.context.loop.is_late:
            failing.append("loop")
        if failing:
            self.reply(503, {"status": "not ready", "failing": failing})
        else:
            self.reply(200, {"status": "ready"})


class NotFoundHandler(BaseHandler):
    """Every path that no route takes."""

    def prepare(self) -> None:
        """Refuse before the body is read."""
        self.begin_log_context()
        raise self.method_refusal()

    def method_refusal(self) -> RealtimeError:
        """Return the same for every method, also for one that Tornado does not know."""
        return NotFound("There is nothing at this path; / leads to what there is.")


def routes() -> list[Route]:
    """Return the routes for operators."""
    return [
        Route("/metrics", MetricsHandler, media_type="text/plain"),
        Route("/healthz", HealthHandler, answer=Alive(), other_answers={503: LoopStuck()}),
        Route("/readyz", ReadinessHandler, answer=Ready(), other_answers={503: NotReady()}),
    ]
