// The stock socket.io-client under remote control, one JSON object per line in and out.
//
// In:   {"do": "connect", "url", "options"} · {"do": "emit", "arguments"} ·
//       {"do": "disconnect" | "connectAgain"} ·
//       {"do": "acknowledge", "event"}: listen to it and call the callback each time ·
//       {"do": "ask", "number", "arguments"}, answered by {"what": "answer", "number", "arguments"}
// Out:  {"what": "open" | "upgrade" | "connect" | "connect_error" | "event" | "disconnect" |
//       "reconnect", …}
//
// It ends when its input does.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

let socket;

function say(what, details) {
  process.stdout.write(JSON.stringify({ what, ...details }) + "\n");
}

const commands = {
  connect({ url, options }) {
    socket = io(url, { forceNew: true, reconnectionDelay: 10, reconnectionDelayMax: 50, ...options });
    socket.io.on("open", () => {
      const { engine } = socket.io;
      say("open", { transport: engine.transport.name });
      engine.on("upgrade", (transport) => say("upgrade", { transport: transport.name }));
    });
    socket.on("connect", () => {
      say("connect", { id: socket.id, recovered: Boolean(socket.recovered) });
    });
    socket.on("connect_error", (error) => {
      say("connect_error", { message: error.message, data: error.data, active: socket.active });
    });
    socket.on("disconnect", (reason, details) => {
      const { code, reason: closeReason } = details?.context ?? {};
      say("disconnect", { reason, code, closeReason, active: socket.active });
    });
    socket.io.on("reconnect", () => say("reconnect", {}));
    socket.onAny((name, ...values) => say("event", { name, arguments: values }));
  },
  emit(command) {
    socket.emit(...command.arguments);
  },
  ask(command) {
    socket.emit(...command.arguments, (...values) => {
      say("answer", { number: command.number, arguments: values });
    });
  },
  acknowledge({ event }) {
    socket.on(event, (...values) => {
      const seen = values.at(-1);
      if (typeof seen === "function") seen();
    });
  },
  disconnect() {
    socket.disconnect();
  },
  connectAgain() {
    socket.connect();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line, (_key, value) => value?.bytes ? Buffer.from(value.bytes) : value);
  commands[command.do](command);
}
socket?.disconnect(); // nothing else keeps Node alive
