"""HTTP/1.1 for Tornado's request handlers, on asyncio's transports and the parser llhttp."""
