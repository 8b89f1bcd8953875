// What the gateway tells, and how it is asked.

import { setClock } from './dom.js';

export const store = { state: null, user: '', actions: false, link: 'wait', heard: 0 };

const watchers = new Set();

// watch calls back after each change.
export const watch = fn => watchers.add(fn);

let due = false;

// changed draws what is shown anew, once for all changes of a moment.
export function changed() {
	if (due) return;
	due = true;
	setTimeout(() => {
		due = false;
		for (const fn of watchers) fn();
	});
}

function heard({ kind, data }) {
	store.heard = Date.now();
	if (kind === 'hello') {
		const hello = JSON.parse(data);
		setClock(hello.now);
		store.user = hello.user;
		store.actions = hello.actions;
	} else if (kind === 'state') {
		store.state = JSON.parse(data);
		meter(store.state);
	} else {
		store.link = data;
	}
	changed();
}

const speeds = new Map();

// meter finds out how fast pulls are, from what they had before.
function meter(state) {
	const now = performance.now();
	for (const pull of (state.pulls && state.pulls.running) || []) {
		const key = pullKey(pull);
		const known = speeds.get(key) || { at: now, bytes: pull.bytes, speed: 0 };
		const seconds = (now - known.at) / 1000;
		if (seconds > .5) {
			const speed = Math.max(pull.bytes - known.bytes, 0) / seconds;
			known.speed = known.speed ? .6 * known.speed + .4 * speed : speed;
			known.at = now;
			known.bytes = pull.bytes;
		}
		speeds.set(key, known);
	}
	if (speeds.size > 500) speeds.clear();
}

export const pullKey = pull => [pull.image, pull.digest, pull.client, pull.user, pull.began].join(' ');
export const speedOf = pull => (speeds.get(pullKey(pull)) || { speed: 0 }).speed;

export async function connect() {
	if (window.SharedWorker) {
		const worker = new SharedWorker('stream.js');
		worker.port.onmessage = event => heard(event.data);
		return;
	}
	await import('./stream.js');
	window.pullgateStream.ports.push({ postMessage: heard });
	window.pullgateStream.connect();
}

// endpointURL is where clients reach a site: by the name that this page was reached by, if
// any will do.
export const endpointURL = e => e.any_host ? e.url.replace('127.0.0.1', location.hostname) : e.url;

async function ask(method, path, params) {
	const query = new URLSearchParams(Object.entries(params || {}).filter(([, value]) => value !== '' && value !== undefined));
	const headers = method === 'POST' ? { 'X-Pullgate-Action': '1' } : {};
	const response = await fetch(`api/${path}?${query}`, { method, headers });
	const answer = await response.json().catch(() => ({ error: `the gateway answers ${response.status}` }));
	if (!response.ok) throw new Error(answer.error || `the gateway answers ${response.status}`);
	return answer;
}

export const get = (path, params) => ask('GET', path, params);
export const post = (path, params) => ask('POST', path, params);

// loader asks for what a view needs beside the state, and again when it is old.
export function loader(path) {
	let key = '', asking = false, again = false;
	const l = { data: null, error: '', at: 0 };
	l.load = async (params, force) => {
		const wanted = JSON.stringify(params || {});
		if (wanted !== key) { key = wanted; l.data = l.keep && l.data; l.error = '' }
		else if (!force && (asking || l.data || l.error)) return;
		if (asking) { again = true; return }
		asking = true;
		try {
			const data = await get(path, params);
			if (key === wanted) { l.data = data; l.error = '' }
		} catch (error) {
			if (key === wanted) l.error = error.message;
		}
		l.at = Date.now();
		asking = false;
		if (again) { again = false; l.load(JSON.parse(key), true) }
		changed();
	};
	return l;
}

let toasting;

export function toast(text) {
	document.getElementById('toast').textContent = text;
	clearTimeout(toasting);
	toasting = setTimeout(() => { document.getElementById('toast').textContent = '' }, 6000);
}

export async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
	} catch { // which browsers offer to trustworthy origins only
		const area = document.createElement('textarea');
		area.value = text;
		document.body.append(area);
		area.select();
		document.execCommand('copy');
		area.remove();
	}
	toast('Copied');
}
