// Node's socket.io with its default engine, doing the work that is measured: HTTP triggers by
// Node's own `http`, or with EXPRESS=1 by Express. Prints the address it listens on.
"use strict";

const { createServer } = require("node:http");
const { createRequire } = require("node:module");
const { setImmediate: nextTurn } = require("node:timers/promises");
const path = require("node:path");

const peers = createRequire(path.join(__dirname, "..", "peers", "package.json"));
const { Server } = peers("socket.io");

const announces = process.env.ANNOUNCE === "1";
const now = () => new Date().toISOString();

const CLIENT = /^\/websocket\/event\/client\/([^/]+)\/([^/]+)$/;
const ROOM = /^\/websocket\/event\/room\/([^/]+)\/([^/]+)$/;
const BROADCAST = /^\/websocket\/event\/broadcast\/([^/]+)$/;

function send(operator, event, body) {
  operator.emit(event, { ...body, timestamp: now() });
}

async function emitInProcess(rounds, body) {
  const rooms = [...io.of("/").adapter.rooms.keys()].filter((name) => name.startsWith("room-"));
  for (let round = 0; round < rounds; round++) {
    for (const room of rooms) send(io.to(room), "orderUpdated", body);
    await nextTurn();
  }
}

function trigger(pathname, body) {
  let match = CLIENT.exec(pathname) || ROOM.exec(pathname);
  if (match) {
    send(io.to(decodeURIComponent(match[1])), decodeURIComponent(match[2]), body);
    return true;
  }
  match = BROADCAST.exec(pathname);
  if (match) send(io, decodeURIComponent(match[1]), body);
  return match !== null;
}

function answer(response, status, shape) {
  const text = JSON.stringify(shape);
  response.writeHead(status, {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": Buffer.byteLength(text),
  });
  response.end(text);
}

function onBody(request, then) {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => then(JSON.parse(Buffer.concat(chunks).toString())));
}

function plainHandler(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (request.method === "GET" && pathname === "/websocket/status") {
    answer(response, 200, { connectedClients: io.of("/").sockets.size });
    return;
  }
  onBody(request, async (body) => {
    if (pathname === "/bench/emit") {
      await emitInProcess(Number(searchParams.get("rounds")), body);
      answer(response, 201, { success: true });
    } else if (trigger(pathname, body)) {
      answer(response, 201, { success: true, message: "sent" });
    } else {
      answer(response, 404, { success: false });
    }
  });
}

function expressApplication() {
  const express = peers("express");
  const application = express();
  application.use(express.json({ limit: "10mb" }));
  application.get("/websocket/status", (request, response) => {
    response.json({ connectedClients: io.of("/").sockets.size });
  });
  application.post("/websocket/event/client/:client/:event", (request, response) => {
    send(io.to(request.params.client), request.params.event, request.body);
    response.status(201).json({ success: true, message: "sent" });
  });
  application.post("/websocket/event/room/:room/:event", (request, response) => {
    send(io.to(request.params.room), request.params.event, request.body);
    response.status(201).json({ success: true, message: "sent" });
  });
  application.post("/websocket/event/broadcast/:event", (request, response) => {
    send(io, request.params.event, request.body);
    response.status(201).json({ success: true, message: "sent" });
  });
  return application;
}

const server = createServer(process.env.EXPRESS === "1" ? expressApplication() : plainHandler);
const io = new Server(server);

io.on("connection", (socket) => {
  socket.emit("connected", {
    message: "Successfully connected to WebSocket server",
    clientId: socket.id,
    timestamp: now(),
  });
  if (announces) {
    socket.broadcast.emit("clientJoined", { clientId: socket.id, timestamp: now() });
    socket.on("disconnect", () => {
      io.emit("clientLeft", { clientId: socket.id, timestamp: now() });
    });
  }
  socket.on("joinRoom", (room) => {
    socket.join(room);
    socket.emit("roomJoined", { room, timestamp: now() });
  });
  socket.on("message", (message) => {
    socket.broadcast.emit("messageBroadcast", { from: socket.id, message, timestamp: now() });
    socket.emit("messageReceived", { originalMessage: message, receivedAt: now() });
  });
});

server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`http://127.0.0.1:${server.address().port}\n`);
});
