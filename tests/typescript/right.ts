// What a front-end does with typed events; all of it must compile.
import { io, type Socket } from "socket.io-client";
import type {
  ClientToServerEvents,
  CustomEvent,
  HistoryAcknowledgement,
  ServerToClientEvents,
} from "./events";

interface Events extends ServerToClientEvents {
  orderUpdated: CustomEvent<{ orderId: number }>;
}

const socket: Socket<Events, ClientToServerEvents> = io("http://localhost:3000", {
  auth: { token: "a token" },
});

let seen = "";

socket.on("connected", (payload, offset) => {
  const recovered: boolean = payload.recovered;
  const reason: "expired" | "epoch_changed" | "gap" | "too_much" | "revoked" | undefined =
    payload.reason;
  seen = offset ?? seen;
  console.log(recovered, reason, payload.clientId.length);
});
socket.on("notification", ({ type, title, metadata }, offset?: string) => {
  const kind: "info" | "success" | "warning" | "error" = type;
  console.log(kind, title.length, metadata?.orderId, offset?.length);
});
socket.on("roomMessage", ({ from, room, message }) => console.log(from, room, message));
socket.on("presence", ({ joins, leaves }) => {
  const names: (string | undefined)[] = [...joins, ...leaves].map((one) => one.userId);
  console.log(names);
});
socket.on("exception", ({ code, fields }) => console.log(code, fields?.roomName?.[0]));
socket.on("conversationUpdate", (payload) => console.log(payload.timestamp, payload.anything));
socket.on("orderUpdated", (order, offset) => console.log(order.orderId + 1, order.timestamp, offset));

socket.emit("joinRoom", "sales", (answer) => {
  if (answer.ok) {
    const complete: boolean | undefined = answer.complete;
    console.log(answer.room.length, complete);
  } else {
    console.log(answer.error.code, answer.error.retryable, answer.error.fields);
  }
});
socket.emit("message", { type: "text", text: "Good morning" }, () => undefined);
socket.emit("message", "Good morning", () => undefined);
socket.emit("message", [1, null], () => undefined);
socket.emit("joinWhatsAppGeneral", () => undefined);

async function ask(): Promise<void> {
  const joined = await socket.emitWithAck("joinRoom", { roomName: "sales", since: seen });
  if (!joined.ok) throw new Error(joined.error.message);
  const page = await socket.emitWithAck("history", { room: "sales", limit: 50 });
  if (page.ok) {
    const offsets: string[] = page.events.map((event) => event.offset);
    console.log(offsets, page.more);
  }
  const sent = await socket.emitWithAck("roomMessage", { room: "sales", message: { a: [1] } });
  if (sent.ok) console.log(sent.recipients + sent.pending, sent.offset);
  if (sent.ok && sent.partial) console.log(sent.nodesMissing?.join(", "));
  // Behind timeout() the client's own types know the arguments and not the answer.
  const next: HistoryAcknowledgement = await socket
    .timeout(5000)
    .emitWithAck("history", { room: "sales", after: seen });
  console.log(next.events.length);
  const renewed = await socket.emitWithAck("auth:refresh", { token: "a token" });
  if (renewed.ok) console.log(renewed.expiresAt.length);
}

socket.timeout(5000).emit("leaveRoom", "sales", (problem, answer) => {
  console.log(problem?.message, answer.ok);
});
void ask();
