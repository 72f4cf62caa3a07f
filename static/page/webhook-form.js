'use strict';

// Simulates Meta's webhook: signs a body with the app secret and posts it. The secret stays in its
// field, so it is gone with the page.

const WEBHOOK = '/whatsapp/webhook';

function setUpWebhookForms(log) {
  byId('cannot-sign').hidden = CAN_SIGN;
  byId('webhook').disabled = !CAN_SIGN;
  onSubmit(byId('simulate-message'), () => postSigned(incomingMessageBody({
    number: byId('customer-number').value,
    name: byId('customer-name').value,
    text: byId('incoming-text').value,
  }), log));
  onSubmit(byId('simulate-status'), () => {
    // Kept, so that the next status is one of the same message.
    byId('message-id').value ||= newMessageId();
    postSigned(statusBody({
      number: byId('customer-number').value,
      messageId: byId('message-id').value,
      status: byId('status').value,
      customerId: byId('callback-customer').value,
    }), log);
  });
}

async function postSigned(body, log) {
  const output = byId('webhook-answer');
  const secret = byId('app-secret').value;
  if (!secret) {
    showProblem(output, 'Type the app secret that the server has in GTOWER_WHATSAPP_APP_SECRET.');
    return;
  }
  const headers = { 'X-Hub-Signature-256': await signatureOf(body, secret) };
  await requestAndShow({ method: 'POST', target: WEBHOOK, headers, body }, output, log);
}
