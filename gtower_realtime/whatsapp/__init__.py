"""Meta's WhatsApp webhook: from signed bytes to events for the agents who follow a customer."""
