// The display's side of the protocol, over a WebSocket in JSON: what is posted is sent until the server has
// worked on it, what comes is given once and in order, and acknowledged once it has been shown.

const SCHEMA = 1;
const FIRST = 100, LONGEST = 2000; // ms from one attempt to connect to the next
const HEARTBEAT = 1000, SILENCE = 5000, FIRST_QUESTIONS = 8, FIRST_EVERY = 50;
const UNKNOWN_TR = 2; // seconds that stand for a TR where nobody knows it, as in rtflow.agents.kept_values
const REFUSED = {
  401: "The link to this page is no longer valid. Open a new one.",
  403: "This page may not be opened from here: use the address that the server is known by.",
  409: "Another page shows the feedback already. Close it, or give this one another name.",
};

/** Seconds since 1970 on this computer's clock; it never jumps. */
export function now() {
  return at(performance.now());
}

/** The same of a time of the page, such as an event's `timeStamp`. */
export function at(milliseconds) {
  return (performance.timeOrigin + milliseconds) / 1000;
}

function pause(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}

function word() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (n) => n.toString(16).padStart(2, "0")).join("");
}

/** What this display has shown; it outlives the page, so that nothing is shown twice. */
class Memory {
  constructor(name) {
    this.key = `rtflow.${name}`;
    this.kept = { run_uid: "", volume: 0, triggers: 0, ...JSON.parse(localStorage.getItem(this.key) ?? "{}") };
  }

  has(value) {
    return value.run_uid === this.kept.run_uid && value.volume <= this.kept.volume;
  }

  keep(changes) {
    if (changes.run_uid !== undefined && changes.run_uid !== this.kept.run_uid) {
      this.kept = { run_uid: "", volume: 0, triggers: 0 };
    }
    Object.assign(this.kept, changes);
    localStorage.setItem(this.key, JSON.stringify(this.kept));
  }
}

/**
 * The server, as long as the page is open.
 *
 * @param {object} options
 * @param {string} options.name  Of this display.
 * @param {string} options.token  By which the page comes in the first time; afterwards a cookie does.
 * @param {(words: string, final: boolean) => void} options.onStatus  Told how the connection is.
 * @param {(words: string) => void} options.onNote  Told each message to the participant.
 */
export class Link {
  constructor({ name, token = "", onStatus = () => {}, onNote = () => {} }) {
    this.name = name;
    this.token = token;
    this.onStatus = onStatus;
    this.onNote = onNote;
    this.memory = new Memory(name);
    // Of this tab, also after it is loaded anew: the server tells it from another one of the name by this.
    this.instance = sessionStorage.getItem("rtflow.instance") ?? word();
    sessionStorage.setItem("rtflow.instance", this.instance);
    this.run_uid = "";
    this.tr = null; // seconds, of the run that is on, if it is known
    this.epoch = word();
    this.posts = []; // not acknowledged: {seq, body}
    this.nextSeq = 1;
    this.theirEpoch = "";
    this.taken = [0, 0]; // the last post of each lane that came
    this.heard = [0, 0]; // the last one that was worked on
    this.coming = [];
    this.wanting = null;
    this.exchanges = [];
    this.socket = null;
    this.mayPost = false; // behind the first answer: then the server knows the clock of what it hears
    this.live();
  }

  /** The next BeginRun, Value (it says whether it came `late`) or EndRun; call `done` once it has been dealt with. */
  async next() {
    for (;;) {
      while (this.coming.length === 0) {
        await new Promise((come) => { this.wanting = come; });
      }
      const message = this.coming.shift();
      const { type, run_uid } = message.body;
      if (type === "BeginRun" || type === "EndRun" || (type === "Value" && !this.memory.has(message.body))) {
        if (type === "BeginRun") this.memory.keep({ run_uid });
        if (type === "BeginRun" || run_uid !== this.run_uid) this.tr = message.body.tr ?? null;
        this.run_uid = run_uid;
        if (type === "Value") message.body.late = await this.isLate(message);
        return message;
      }
      this.done(message); // dealt with when it came, or shown before
    }
  }

  /** A message of `next` has been dealt with: only now it is acknowledged, and not sent again. */
  done(message) {
    if (message.epoch === this.theirEpoch) {
      this.heard[message.lane] = message.seq;
      this.acknowledge(message.lane);
    }
  }

  /** Seconds that the server's clock shows more than this one, by the fastest of the last exchanges. */
  async offset() {
    while (this.exchanges.length === 0) await pause(1);
    return this.exchanges.reduce((best, one) => (one.roundTrip < best.roundTrip ? one : best)).offset;
  }

  /** Whether a value came more than a TR after its volume's last byte, or after the server gave it out. */
  async isLate({ body, arrived }) {
    const there = (body.received ?? body.time) - (await this.offset());
    return arrived - there > (this.tr || UNKNOWN_TR);
  }

  /** Milliseconds until a value is due; 0 if it is. */
  async due(value) {
    const time = value.time - (await this.offset());
    return 1000 * Math.max(0, Math.min(value.delay, time + value.delay - now()));
  }

  /** The value of a volume is on the display; of one that came late the server is told so. */
  shown(value, time = now()) {
    this.memory.keep({ run_uid: value.run_uid, volume: value.volume });
    this.post({ type: "Shown", run_uid: value.run_uid, volume: value.volume, at: time, late: value.late === true });
  }

  /** The participant pressed a button. */
  respond(button, time = now()) {
    this.post({ type: "Response", button: button.slice(0, 100), at: time, run_uid: this.run_uid });
  }

  /** The scanner's next trigger came. */
  trigger(time = now()) {
    this.memory.keep({ run_uid: this.run_uid, triggers: this.memory.kept.triggers + 1 });
    this.post({ type: "Trigger", n: this.memory.kept.triggers, at: time, run_uid: this.run_uid });
  }

  /** Something was shown or played, for so many seconds. */
  event(name, onset, duration) {
    this.post({ type: "StimulusEvent", name, onset, duration, run_uid: this.run_uid });
  }

  // The connection

  async live() {
    let wait = FIRST;
    for (;;) {
      const refused = await this.enter();
      if (refused === "") {
        if (await this.converse()) wait = FIRST;
        if (this.ended) return;
      } else {
        this.onStatus(refused, this.ended);
        if (this.ended) return;
      }
      await pause(wait * (0.5 + Math.random() / 2));
      wait = Math.min(2 * wait, LONGEST);
    }
  }

  /** Ask to be let in: why not, in words. A WebSocket that is refused does not say why. */
  async enter() {
    const who = new URLSearchParams({ name: this.name, instance: this.instance });
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    let answer;
    try {
      answer = await fetch(`/subject/enter?${who}`, { method: "POST", headers, signal: AbortSignal.timeout(SILENCE) });
    } catch {
      return "The server does not answer.";
    }
    if (answer.ok) {
      this.token = "";
      return "";
    }
    this.ended = answer.status === 401 || answer.status === 403;
    return REFUSED[answer.status] ?? `The server answers ${answer.status}.`;
  }

  /** One connection, until it ends; whether there was one. */
  converse() {
    const who = new URLSearchParams({ name: this.name, instance: this.instance });
    const address = `${location.origin.replace(/^http/, "ws")}/subject/socket?${who}`;
    const socket = new WebSocket(address, "rtflow.json");
    let hello = false, asked = 0, heardAt = performance.now(), timer = 0;
    const ask = () => {
      if (performance.now() - heardAt > SILENCE) {
        end();
        return;
      }
      if (hello) this.say({ frame: "Ping", sent: now() });
      asked += 1;
      timer = setTimeout(ask, hello && asked < FIRST_QUESTIONS ? FIRST_EVERY : HEARTBEAT);
    };
    let end;
    const ended = new Promise((resolve) => {
      end = () => { // close() alone would wait for an answer that may never come
        clearTimeout(timer);
        this.socket = null;
        socket.onmessage = socket.onclose = null;
        socket.close();
        if (!this.ended) this.onStatus("The connection is lost; it is being made again.", false);
        resolve(hello);
      };
    });
    socket.onopen = () => socket.send(JSON.stringify(this.hello()));
    socket.onclose = () => end();
    socket.onmessage = (message) => {
      heardAt = performance.now();
      const frame = JSON.parse(message.data);
      if (frame.frame === "Bye") {
        if (frame.final) {
          this.ended = true;
          this.onStatus(`The server has ended the connection: ${frame.reason}.`, true);
        }
        end();
      } else if (!hello) {
        hello = this.meet(frame, socket);
        if (!hello) {
          end();
          return;
        }
        clearTimeout(timer);
        ask();
      } else {
        this.take(frame);
      }
    };
    ask();
    return ended;
  }

  hello() {
    return {
      frame: "Hello",
      schema: SCHEMA,
      epoch: this.epoch,
      first: [this.posts[0]?.seq ?? this.nextSeq, 1],
      heard_epoch: this.theirEpoch,
      heard: this.heard,
      about: { program: "subject page", browser: navigator.userAgent.slice(0, 200) },
    };
  }

  meet(hello, socket) {
    if (hello.schema !== SCHEMA) {
      this.ended = true;
      this.onStatus("The server has another version: load this page anew.", true);
      return false;
    }
    if (hello.heard_epoch === this.epoch) this.forget(hello.heard[0]);
    if (hello.epoch !== this.theirEpoch) {
      this.theirEpoch = hello.epoch;
      this.taken = hello.first.map((first) => first - 1);
      this.heard = [...this.taken];
      this.exchanges = []; // what is known of the clock is the earlier server's
    }
    this.socket = socket;
    this.mayPost = false;
    this.onStatus("connected", false);
    return true;
  }

  take(frame) {
    if (frame.frame === "Ping") {
      const received = now();
      this.say({ frame: "Pong", sent: frame.sent, received, answered: now() });
      if (!this.mayPost) {
        this.mayPost = true;
        for (const post of this.posts) this.say({ frame: "Post", lane: 0, ...post });
      }
    } else if (frame.frame === "Pong") {
      const there = frame.answered - frame.received;
      const roundTrip = now() - frame.sent - there;
      const offset = (frame.received + frame.answered) / 2 - frame.sent - (roundTrip + there) / 2;
      if (roundTrip >= 0 && there >= 0) this.exchanges = [...this.exchanges.slice(-63), { roundTrip, offset }];
    } else if (frame.frame === "Ack") {
      this.forget(frame.seq);
    } else if (frame.frame === "Post") {
      if (frame.seq === this.taken[frame.lane] + 1) {
        this.taken[frame.lane] = frame.seq;
        this.sort(frame);
      } else if (frame.seq <= this.heard[frame.lane]) {
        this.acknowledge(frame.lane);
      } else if (frame.seq > this.taken[frame.lane]) {
        this.socket.close(); // those between are lacking: they come again with the next connection
      }
    }
  }

  /** What is shown waits its turn; all else is dealt with at once. */
  sort(message) {
    const body = message.body, arrived = now();
    if (body.type === "Value" && !this.memory.has(body)) {
      this.post({ type: "Received", run_uid: body.run_uid, volume: body.volume, at: arrived });
    } else if (body.type === "Note") {
      this.onNote(body.text);
    } else if (body.type === "Request") {
      this.post({ type: "Reply", id: body.id, error: "the subject page has no services" });
    }
    this.coming.push({ ...message, epoch: this.theirEpoch, arrived });
    this.wanting?.();
  }

  acknowledge(lane) {
    this.say({ frame: "Ack", lane, seq: this.heard[lane] });
  }

  post(body) {
    const post = { seq: this.nextSeq, body };
    this.nextSeq += 1;
    this.posts.push(post);
    if (this.mayPost) this.say({ frame: "Post", lane: 0, ...post });
  }

  forget(seq) {
    while (this.posts.length > 0 && this.posts[0].seq <= seq) this.posts.shift();
  }

  say(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }
}
