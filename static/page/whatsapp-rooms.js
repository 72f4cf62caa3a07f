'use strict';

// Joining and leaving the rooms of WhatsApp: the general one, and one of each customer.

const WHATSAPP_GENERAL = 'whatsapp:general';

function setUpWhatsAppRooms(connection) {
  const emit = (event, argument) =>
    emitAndShow(connection, byId('whatsapp-rooms-answer'), event, argument);
  const customer = () => byId('customer').value;

  byId('join-general').addEventListener('click', () => emit('joinWhatsAppGeneral'));
  byId('leave-general').addEventListener('click', () => emit('leaveRoom', WHATSAPP_GENERAL));
  onSubmit(byId('whatsapp-rooms'), () => emit('joinWhatsAppCustomer', customer()));
  byId('leave-customer').addEventListener('click', () => emit('leaveWhatsAppCustomer', customer()));
}
