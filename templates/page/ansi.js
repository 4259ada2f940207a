// Colours of terminal output. Only SGR sequences have an effect. All other control sequences are
// dropped, so that output cannot hide or overwrite other output.
"use strict";
const ANSI_GROUND = [16, 24, 26]; // the background of output, as in app.css
const ANSI_INK = [228, 236, 232];
const ANSI_COLOURS = [
  [60, 72, 72], [255, 122, 110], [104, 211, 145], [236, 196, 94], [122, 176, 255], [214, 150, 245], [96, 210, 220], [214, 222, 218],
  [128, 142, 140], [255, 158, 146], [148, 232, 178], [250, 218, 132], [162, 202, 255], [232, 182, 255], [142, 230, 238], [255, 255, 255],
];
const MAX_PARAMETERS = 200; // characters of a sequence that count

function ansiColour(index) {
  if (!(index >= 0 && index <= 255)) return null;
  if (index < 16) return ANSI_COLOURS[index];
  if (index >= 232) return Array(3).fill(8 + (index - 232) * 10);
  const level = (value) => (value ? 55 + value * 40 : 0);
  const cube = index - 16;
  return [level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)];
}
function luminance(colour) {
  const [red, green, blue] = colour.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
// Moves a colour towards white or black until it can be read, so that no text is invisible.
function readable(colour, ground) {
  const end = luminance(ground) < 0.18 ? 255 : 0;
  let shown = colour;
  for (let step = 0; step <= 10 && contrast(shown, ground) < 4.6; step += 1) {
    shown = colour.map((value) => Math.round(value + ((end - value) * step) / 10));
  }
  return shown;
}
const css = (colour) => "rgb(" + colour.join(", ") + ")";

class AnsiText {
  constructor() {
    this.state = "text";
    this.parameters = "";
    this.returned = false; // after a carriage return
    this.reset();
  }
  reset() {
    this.bold = this.dim = this.italic = this.underline = this.strike = this.reverse = false;
    this.fore = this.back = null;
  }

  // Converts a piece of output. Sequences may continue in the next piece.
  read(text) {
    const parts = document.createDocumentFragment();
    let run = "";
    const flush = () => {
      if (run) parts.append(this.painted(run));
      run = "";
    };
    const write = (character) => {
      const code = character.codePointAt(0);
      if (character === "\r") { this.returned = true; return; }
      // A lone carriage return begins a new line: nothing is overwritten.
      if (this.returned && character !== "\n") run += "\n";
      this.returned = false;
      if (character === "\n" || character === "\t") run += character;
      else if (code >= 0x20 && !(code >= 0x7f && code <= 0x9f)) run += character;
    };
    for (const character of text) {
      const code = character.codePointAt(0);
      const ends = code === 0x18 || code === 0x1a;
      if (this.state === "text") {
        if (code === 0x1b) this.state = "escape";
        else if (code === 0x9b) this.begin();
        else if ([0x90, 0x98, 0x9d, 0x9e, 0x9f].includes(code)) this.state = "string";
        else write(character);
      } else if (code === 0x1b) {
        this.state = "escape";
      } else if (ends) {
        this.state = "text";
      } else if (character === "\n") {
        // An unfinished sequence takes no more than its line.
        this.state = "text";
        write(character);
      } else if (this.state === "string") {
        if (code === 0x07 || code === 0x9c) this.state = "text";
      } else if (this.state === "escape") {
        if (character === "[") this.begin();
        else if ("]PX^_".includes(character)) this.state = "string";
        else if (code >= 0x20 && code <= 0x2f) this.state = "charset";
        else this.afterSequence(code, character, write);
      } else if (this.state === "charset") {
        if (!(code >= 0x20 && code <= 0x2f)) this.afterSequence(code, character, write);
      } else if (code >= 0x20 && code <= 0x3f) {
        if (this.parameters.length < MAX_PARAMETERS) this.parameters += character;
      } else {
        if (character === "m" && /^[0-9;:]*$/.test(this.parameters)) {
          flush();
          this.select(this.parameters);
        }
        this.afterSequence(code, character, write);
      }
    }
    flush();
    return parts;
  }
  begin() {
    this.state = "sequence";
    this.parameters = "";
  }
  // The last character of a sequence is ASCII. Another one is text.
  afterSequence(code, character, write) {
    this.state = "text";
    if (code > 0x7e) write(character);
  }

  select(parameters) {
    const list = parameters.split(";");
    for (let at = 0; at < list.length; at += 1) {
      const parts = list[at].split(":");
      const code = Number(parts[0] || 0);
      if (code === 0) this.reset();
      else if (code === 1) this.bold = true;
      else if (code === 2) this.dim = true;
      else if (code === 3) this.italic = true;
      else if (code === 4) this.underline = parts[1] !== "0";
      else if (code === 7) this.reverse = true;
      else if (code === 9) this.strike = true;
      else if (code === 22) this.bold = this.dim = false;
      else if (code === 23) this.italic = false;
      else if (code === 24) this.underline = false;
      else if (code === 27) this.reverse = false;
      else if (code === 29) this.strike = false;
      else if (code >= 30 && code <= 37) this.fore = ansiColour(code - 30);
      else if (code === 39) this.fore = null;
      else if (code >= 40 && code <= 47) this.back = ansiColour(code - 40);
      else if (code === 49) this.back = null;
      else if (code >= 90 && code <= 97) this.fore = ansiColour(code - 82);
      else if (code >= 100 && code <= 107) this.back = ansiColour(code - 92);
      else if (code === 38 || code === 48) {
        let colour = null;
        const values = parts.length > 1 ? parts.slice(1) : list.slice(at + 1, at + 5);
        if (values[0] === "5") {
          colour = ansiColour(Number(values[1]));
          if (parts.length === 1) at += 2;
        } else if (values[0] === "2") {
          const three = (parts.length > 1 ? values.slice(1).filter(Boolean).slice(-3) : values.slice(1)).map(Number);
          if (three.length === 3 && three.every((value) => value >= 0 && value <= 255)) colour = three;
          if (parts.length === 1) at += 4;
        }
        if (code === 38) this.fore = colour;
        else this.back = colour;
      }
    }
  }

  painted(text) {
    const styled = this.bold || this.dim || this.italic || this.underline || this.strike || this.reverse || this.fore || this.back;
    if (!styled) return document.createTextNode(plain(text));
    const classes = ["bold", "italic", "underline", "strike"].filter((name) => this[name]);
    const node = element("span", classes.map((name) => "ansi-" + name).join(" "), text);
    let [fore, back] = [this.fore, this.back];
    if (this.reverse) [fore, back] = [back || ANSI_GROUND, fore || ANSI_INK];
    if (this.dim) fore = (fore || ANSI_INK).map((value) => Math.round(value * 0.65));
    if (back) {
      node.style.backgroundColor = css(back);
      fore = fore || ANSI_INK;
    }
    if (fore) node.style.color = css(readable(fore, back || ANSI_GROUND));
    return node;
  }
}
