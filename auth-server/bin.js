#!/usr/bin/env node
import { readFileSync } from 'node:fs'

// JavaScript that any Node of the last years reads: one that cannot read main.ts shall say so in words.
const text = readFileSync(new URL('package.json', import.meta.url), 'utf8')
const needed = JSON.parse(text).engines.node.replace('>=', '')
const actual = process.versions.node

if (isOlder(actual, needed)) {
  const remedy =
    'Run it as "npx portreeve", in the folder where npm ci has brought the right one, or install that.'
  console.error(`error: Portreeve needs Node ${needed} or later, and this is ${actual}. ${remedy}`)
  process.exitCode = 1
} else {
  await import('./main.ts')
}

function isOlder(one, other) {
  const [major, minor] = one.split('.').map(Number)
  const [otherMajor, otherMinor] = other.split('.').map(Number)
  return major < otherMajor || (major === otherMajor && minor < otherMinor)
}
