// A phone in a browser, on JsSIP: it plays a tone, shows given pictures, keeps what it hears.
// Every function here is called from Python by its name; promises are waited for.
import JsSIP from 'jssip';

const element = name => document.getElementById(name);
const events = [];
const waiting = [];
const tape = [];
let agent, session, sound, source, tone, pictures, shown, painter, next = 0;

function happened(what) {
  events.push(what);
  element('state').textContent = what;
  for (const [wanted, done] of waiting.splice(0)) wanted === what ? done() : waiting.push([wanted, done]);
}

// Wait for the next event of that name, or take one that came and was not waited for.
function wait(what) {
  const place = events.indexOf(what);
  if (place >= 0) { events.splice(0, place + 1); return Promise.resolve(what); }
  return new Promise(done => waiting.push([what, () => { events.splice(0, events.indexOf(what) + 1); done(what); }]));
}

const loaded = async source => { const image = new Image(); image.src = source; await image.decode(); return image; };

// Prepare a tone of that pitch and these pictures (data URLs), shown one after another.
async function prepare(hertz, sources, each) {
  sound = new AudioContext();
  await sound.resume();
  const oscillator = new OscillatorNode(sound, { frequency: hertz });
  const softly = new GainNode(sound, { gain: 0.5 });
  const out = new MediaStreamAudioDestinationNode(sound, { channelCount: 1 });
  oscillator.connect(softly).connect(out);
  oscillator.start();
  tone = out.stream.getAudioTracks()[0];
  const tap = `registerProcessor('tap', class extends AudioWorkletProcessor {
    process(inputs) { if (inputs[0].length) this.port.postMessage(inputs[0][0].slice()); return true; } })`;
  await sound.audioWorklet.addModule(URL.createObjectURL(new Blob([tap], { type: 'text/javascript' })));
  pictures = await Promise.all(sources.map(loaded));
  const canvas = element('ours');
  const context = canvas.getContext('2d');
  const paint = () => context.drawImage(pictures[next++ % pictures.length], 0, 0);
  paint();
  painter = setInterval(paint, each);
  shown = canvas.captureStream(1000 / each).getVideoTracks()[0];
  return sound.sampleRate;
}

function tapped(track) {
  source?.disconnect(); // the last call's goes on, silent
  source = new MediaStreamAudioSourceNode(sound, { mediaStream: new MediaStream([track]) });
  const tap = new AudioWorkletNode(sound, 'tap', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
  tap.port.onmessage = message => tape.push(message.data);
  source.connect(tap);
}

function follow(connection) {
  element('theirs').srcObject = new MediaStream();
  connection.addEventListener('track', ({ track }) => {
    const video = element('theirs');
    const known = video.srcObject.getTracks().includes(track); // it comes again after a hold
    video.srcObject.addTrack(track);
    if (track.kind === 'audio' && !known) tapped(track);
    happened(track.kind);
  });
}

const options = what => ({
  mediaStream: new MediaStream(what.video ? [tone, shown] : [tone]),
  pcConfig: { iceServers: [] },
});

// Register; calls that come are left ringing until `accept`.
function register(user, server, domain, password) {
  element('who').textContent = user;
  agent = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(server)],
    uri: `sip:${user}@${domain}`,
    password,
    session_timers: false,
  });
  agent.on('newRTCSession', event => {
    session = event.session;
    session.on('confirmed', () => happened('confirmed'));
    session.on('failed', ({ cause }) => { happened('failed'); happened(`failed: ${cause}`); });
    session.on('ended', () => happened('ended'));
    session.on('hold', ({ originator }) => happened(`hold by ${originator}`));
    session.on('unhold', ({ originator }) => happened(`unhold by ${originator}`));
    if (session.connection) follow(session.connection);
    else session.on('peerconnection', ({ peerconnection }) => follow(peerconnection));
    if (event.originator === 'remote') happened('ringing');
  });
  return new Promise((done, failed) => {
    agent.on('registered', () => { happened('registered'); done(); });
    agent.on('registrationFailed', ({ cause }) => failed(new Error(cause)));
    agent.on('disconnected', ({ code, reason }) => failed(new Error(`disconnected: ${code} ${reason || ''}`)));
    agent.start();
  });
}

function call(target, what) { agent.call(target, options(what)); }
function accept(what) { session.answer(options(what)); }
function hangUp() { session.terminate(); }
function hold() { return new Promise(done => session.hold({}, done)); }
function resume() { return new Promise(done => session.unhold({}, done)); }

const sender = kind => session.connection.getTransceivers().find(t => t.receiver.track.kind === kind).sender;

// The camera off and on again, without a word in signalling.
function camera(on) { return sender('video').replaceTrack(on ? shown : null); }

// Show pictures in a call that began without, by a new offer.
function addCamera() {
  session.connection.addTrack(shown);
  return new Promise(done => session.renegotiate({}, done));
}

// What was heard since this was asked last, 16 bits a sample in base64, at the rate `prepare` returned.
function heard() {
  const pieces = tape.splice(0);
  const samples = new Int16Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) for (const value of piece) samples[at++] = Math.max(-1, Math.min(1, value)) * 32767;
  const bytes = new Uint8Array(samples.buffer);
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}

// The picture of the peer as it is now, a PNG; "" before there is one.
function seen() {
  const video = element('theirs');
  if (!video.videoWidth) return '';
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext('2d').drawImage(video, 0, 0);
  return canvas.toDataURL('image/png');
}

// Where their picture stands on the screen.
function place() { const { left, top } = element('theirs').getBoundingClientRect(); return [left, top].map(Math.round); }

// Its own addresses, as our description names them.
function hosts() {
  const lines = session.connection.localDescription.sdp.matchAll(/^a=candidate:(.*)$/gm);
  return [...lines].map(line => line[1].split(' ')[4]);
}

// What the connection says of itself.
async function statistics() {
  const found = {};
  const report = await session.connection.getStats();
  for (const one of report.values()) {
    if (one.type === 'inbound-rtp' || one.type === 'outbound-rtp') {
      found[`${one.type === 'inbound-rtp' ? 'in' : 'out'}_${one.kind}`] = {
        packets: one.packetsReceived ?? one.packetsSent,
        frames: one.framesDecoded ?? one.framesEncoded,
        lost: one.packetsLost, nack: one.nackCount, pli: one.pliCount,
        codec: report.get(one.codecId)?.mimeType,
      };
    }
  }
  return found;
}

window.page = {
  wait, prepare, register, call, accept, hangUp, hold, resume, camera, addCamera,
  heard, seen, place, hosts, statistics,
};
