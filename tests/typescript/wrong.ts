// What a front-end must not do with typed events: an error at each line that says so, and no other.
import { io, type Socket } from "socket.io-client";
import type { ClientToServerEvents, CustomEvent, ServerToClientEvents } from "./events";

interface Events extends ServerToClientEvents {
  orderUpdated: CustomEvent<{ orderId: number }>;
}

const socket: Socket<Events, ClientToServerEvents> = io("http://localhost:3000");

socket.on("notificaton", () => undefined); // wrong: no such event
socket.on("notification", ({ text }) => console.log(text)); // wrong: no such field
socket.on("connected", ({ recovered }) => console.log(recovered.length)); // wrong: a boolean
socket.on("roomJoined", (payload, offset: string) => console.log(payload, offset)); // wrong: carries none
socket.on("notification", (payload, offset: number) => console.log(payload, offset)); // wrong: a string
socket.on("presence", ({ joins }) => console.log(joins.clientId)); // wrong: a list
socket.on("orderUpdated", ({ orderId }) => console.log(orderId.length)); // wrong: a number

socket.emit("joinroom", "sales", () => undefined); // wrong: no such event
socket.emit("joinRoom", 7, () => undefined); // wrong: a name or an object
socket.emit("joinRoom", { room: "sales" }, () => undefined); // wrong: it is called roomName
socket.emit("roomMessage", { message: "Good morning" }, () => undefined); // wrong: no room
socket.emit("message", { type: 7 }, () => undefined); // wrong: type is a string
socket.emit("joinRoom", "sales", (answer) => {
  console.log(answer.room); // wrong: it may have been refused
  if (answer.ok) console.log(answer.error); // wrong: it was not refused
});
socket.emit("message", "Good morning", (answer) => {
  if (answer.ok) console.log(answer.nodesMissing.length); // wrong: absent when all nodes have answered
});
