'use strict';

// Puts the test client together. Classic scripts, because a page opened from disk may not load
// ES modules; so `log` and `connection` are at hand in the browser's console too.

const log = new EventLog();
const connection = new Connection(log);
const joinedRooms = new JoinedRooms(connection);

setUpConnectionForm(connection);
setUpEmitForm(connection);
setUpRoomForms(connection, joinedRooms);
setUpPresencePanel(connection, new PresenceList(connection, joinedRooms));
setUpHttpForm(connection, log);
setUpWhatsAppRooms(connection);
new ConversationView(connection, new Conversations());
setUpWebhookForms(log);
if (FROM_DISK) byId('home').href = 'index.html';

loadBundle().then((isLoaded) => {
  if (!isLoaded) showMissingBundle();
});
