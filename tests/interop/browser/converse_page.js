// Converse, told what to do: every function here is called from Python by its name; promises are waited for.
let api, chat;

// Sign in; the OMEMO keys are published when this is done.
async function signIn(jid, password, server) {
  const ready = new Promise(done => converse.plugins.add('tests', {
    initialize() {
      ({ api } = this._converse);
      api.listen.on('OMEMOInitialized', done);
    },
  }));
  converse.initialize({
    authentication: 'login',
    auto_login: true,
    jid,
    password,
    websocket_url: server,
    discover_connection_methods: false,
    assets_path: '/dist/',
    omemo_default: true,
    view_mode: 'fullscreen',
    whitelisted_plugins: ['tests'],
    play_sounds: false,
  });
  await ready;
}

// Have the window be for somebody, encrypted.
async function open(jid) {
  chat = await api.chats.open(jid);
  await chat.messages.fetched; // those that it had kept
  while (!chat.get('omemo_active')) await new Promise(done => setTimeout(done, 50));
}

// Say something to whom the window is for; `instead` of what was said last, to correct it.
async function say(text, instead = false) {
  if (instead) chat.messages.filter(m => m.get('sender') === 'me').at(-1).save('correcting', true);
  await chat.sendMessage({ body: text });
}

// Send a file to whom the window is for.
function sendFile(name, base64) {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  return chat.sendFiles([new File([bytes], name, { type: 'image/png' })]);
}

// All messages of the window.
function messages() {
  return chat.messages.map(m => ({
    text: m.getMessageText(),
    sender: m.get('sender'),
    encrypted: m.get('is_encrypted') ?? false,
    version: m.get('encryption_namespace') ?? '',
    error: m.get('error_text') ?? (m.get('type') === 'error' ? m.get('message') : ''),
  }));
}

// Fingerprints of somebody's devices for one version of OMEMO, as it shows them.
async function fingerprints(jid, version) {
  const { devices } = await api.omemo.devicelists.get(jid, true, version);
  await Promise.all(devices.map(converse.env.u.omemo.generateFingerprint));
  return devices.map(device => device.get('bundle').fingerprint);
}

window.page = { signIn, open, say, sendFile, messages, fingerprints };
