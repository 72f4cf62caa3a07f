'use strict';

// Rooms: joining, leaving, a message to a room, and the list of those we are in.

function setUpRoomForms(connection, joinedRooms) {
  const emit = (event, argument) =>
    emitAndShow(connection, byId('rooms-answer'), event, argument);
  const room = () => byId('room').value;

  onSubmit(byId('rooms'), () => emit('joinRoom', room()));
  byId('leave-room').addEventListener('click', () => emit('leaveRoom', room()));
  onSubmit(byId('room-message'), () =>
    emit('roomMessage', { room: room(), message: byId('room-text').value }));

  const show = () => showRooms(joinedRooms.names, (name) => emit('leaveRoom', name));
  joinedRooms.addEventListener('change', show);
  show();
}

function showRooms(names, leave) {
  byId('my-rooms').replaceChildren(...names.map((name) => {
    const button = element('button', { type: 'button', textContent: '×', title: `Leave ${name}` });
    button.setAttribute('aria-label', `Leave ${name}`);
    button.addEventListener('click', () => leave(name));
    return element('li', {}, element('span', { textContent: name }), button);
  }));
  byId('joined-rooms').replaceChildren(...names.map((name) => element('option', { value: name })));
  byId('no-rooms').hidden = names.length > 0;
}
