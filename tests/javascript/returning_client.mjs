// A stock client that comes back after every cut and reports what it hears, one JSON value a line.
// Arguments: URL, transports joined by commas, room.
import { io } from "socket.io-client";

const [url, transports, room] = process.argv.slice(2);
const report = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const socket = io(url, {
  transports: transports.split(","),
  reconnectionDelay: 20,
  reconnectionDelayMax: 200,
  timeout: 2000,
});

socket.on("connected", async (payload) => {
  report({
    connected: payload.clientId,
    recovered: socket.recovered,
    says: payload.recovered,
    reason: payload.reason ?? null,
  });
  if (!socket.recovered) {
    const answer = await socket.timeout(10000).emitWithAck("joinRoom", room).catch(String);
    report({ joined: answer });
  }
});
socket.onAny((event, payload) => {
  if (typeof payload?.n === "number") report({ event, n: payload.n });
});
socket.io.on("reconnect_error", (problem) => report({ refused: problem.message }));
socket.on("disconnect", (reason) => report({ disconnected: reason }));
process.stdin.on("end", () => process.exit(0)).resume();
