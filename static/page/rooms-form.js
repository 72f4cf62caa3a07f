'use strict';

// Rooms: joining, leaving, the WhatsApp rooms, a message to a room, and which rooms we are in
// (as the server's own events tell it).

const WHATSAPP_GENERAL = 'whatsapp:general';

function setUpRoomForms(connection) {
  const rooms = new Set();
  const emit = (event, argument) =>
    emitAndShow(connection, byId('rooms-answer'), event, argument);
  const room = () => byId('room').value;
  const customer = () => byId('customer').value;

  onSubmit(byId('rooms'), () => emit('joinRoom', room()));
  byId('leave-room').addEventListener('click', () => emit('leaveRoom', room()));
  onSubmit(byId('room-message'), () =>
    emit('roomMessage', { room: room(), message: byId('room-text').value }));
  byId('join-general').addEventListener('click', () => emit('joinWhatsAppGeneral'));
  byId('leave-general').addEventListener('click', () => emit('leaveRoom', WHATSAPP_GENERAL));
  onSubmit(byId('whatsapp'), () => emit('joinWhatsAppCustomer', customer()));
  byId('leave-customer').addEventListener('click', () => emit('leaveWhatsAppCustomer', customer()));

  const show = () => showRooms(rooms, (name) => emit('leaveRoom', name));
  connection.addEventListener('event', ({ detail }) => {
    if (followMembership(rooms, detail)) show();
  });
  connection.addEventListener('sessionlost', () => {
    rooms.clear();
    show();
  });
  show();
}

// Says whether the event changed `rooms`.
function followMembership(rooms, { name, payload }) {
  const change = MEMBERSHIP_EVENTS.get(name);
  if (change === 'joined') rooms.add(payload.room);
  if (change === 'left') rooms.delete(payload.room);
  return change !== undefined;
}

function showRooms(rooms, leave) {
  byId('my-rooms').replaceChildren(...[...rooms].map((name) => {
    const button = element('button', { type: 'button', textContent: '×', title: `Leave ${name}` });
    button.setAttribute('aria-label', `Leave ${name}`);
    button.addEventListener('click', () => leave(name));
    return element('li', {}, element('span', { textContent: name }), button);
  }));
  byId('no-rooms').hidden = rooms.size > 0;
}
