"""Back-ends that have the realtime server in their own process; see docs/embedding.md."""
