'use strict';

// Bodies of the shape in which Meta's WhatsApp Cloud API posts them, as text ready to be signed.
// The account and our own number are those of Meta's samples.

const WHATSAPP_ACCOUNT = '102290129340398';
const OUR_NUMBER = { display_phone_number: '15550783881', phone_number_id: '106540352242922' };

const FAILURE = {
  code: 131049,
  title: 'This message was not delivered to maintain healthy ecosystem engagement.',
  error_data: { details: 'Not delivered to maintain healthy ecosystem engagement.' },
};

function incomingMessageBody({ number, name, text }) {
  return webhookBody({
    contacts: [{ profile: { name }, wa_id: number }],
    messages: [{
      from: number,
      id: newMessageId(),
      timestamp: unixSeconds(),
      type: 'text',
      text: { body: text },
    }],
  });
}

// `customerId` is what the sender of the message said whom it is for; empty for nothing.
function statusBody({ number, messageId, status, customerId }) {
  return webhookBody({
    statuses: [{
      id: messageId,
      timestamp: unixSeconds(),
      recipient_id: number,
      status,
      ...(status === 'failed' ? { errors: [FAILURE] } : {}),
      ...(customerId ? { biz_opaque_callback_data: `customer:${customerId}` } : {}),
    }],
  });
}

function newMessageId() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return `wamid.${btoa(String.fromCharCode(...bytes))}`;
}

function webhookBody(what) {
  const value = { messaging_product: 'whatsapp', metadata: OUR_NUMBER, ...what };
  return asciiJson({
    object: 'whatsapp_business_account',
    entry: [{ id: WHATSAPP_ACCOUNT, changes: [{ value, field: 'messages' }] }],
  });
}

function unixSeconds() {
  return String(Math.floor(Date.now() / 1000));
}

// Meta escapes what is not ASCII, so a receiver must check the bytes that came, not its own.
function asciiJson(value) {
  return JSON.stringify(value).replace(/[^\x00-\x7f]/g, (unit) =>
    `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
