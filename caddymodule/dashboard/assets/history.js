// Graphs of what went on, hand-drawn in SVG.

import { h, s, card, legend, empty, bytes, clock } from './dom.js';
import { loader, changed } from './store.js';

const history = loader('history');
history.keep = true;

const ranges = { day: ['24 hours', 24], week: ['7 days', 168] };
let range = 'day';

export function rangeSwitch() {
	return h('div', { class: 'switch', role: 'group', 'aria-label': 'Time of the graphs' }, Object.entries(ranges).map(([key, [name]]) =>
		h('button', { 'aria-pressed': String(key === range), onclick: () => { range = key; changed() } }, name)));
}

// load asks for the points of the range, once a minute.
function load() {
	history.load({ hours: ranges[range][1] }, Date.now() - history.at > 60000);
	return history.data;
}

const height = 208, left = 64, bottom = 22, top = 8;
let width = 960;
let cursor = null; // which point is looked at, by chart

// traffic draws amounts per step: areas of fields beside each other, or bars of one, or
// areas upon each other, where how is 'bars' or 'stack'. made makes more fields of a point.
export function traffic(title, fields, how, made) {
	const data = load();
	const points = ((data && data.points) || []).map(p => made ? { ...p, ...made(p) } : p);
	const sum = field => points.reduce((n, p) => n + p[field + '_bytes'], 0);
	const note = points.length > 1 ? null : history.error || (data ? 'The first points come within a minute or two.' : 'Asking …');
	const at = cursor && cursor.title === title && points[cursor.i];
	const text = ([field, name]) => [field, at ? `${name}: ${bytes(at[field + '_bytes'] / data.step_seconds)}/s at ${clock(at.time)}` : `${name}: ${bytes(sum(field))}`];
	return card(title, note ? empty(note) : h('figure', {}, chart(title, data, points, fields, how), legend(fields.map(text))));
}

function chart(title, data, points, fields, how) {
	width = Math.max(Math.min(document.getElementById('main').clientWidth, 1344) - 80, 260);
	const step = data.step_seconds * 1000;
	const end = Date.parse(points[points.length - 1].time) + step, begin = end - ranges[range][1] * 3600000;
	const rate = (p, field) => p[field + '_bytes'] / data.step_seconds;
	// below is what an area stands upon.
	const below = (p, i) => how === 'stack' ? fields.slice(0, i).reduce((sum, [field]) => sum + rate(p, field), 0) : 0;
	const most = nice(Math.max(...points.flatMap(p => fields.map(([field], i) => below(p, i) + rate(p, field))), 1));
	const x = time => left + (width - left) * (time - begin) / (end - begin);
	const y = value => top + (height - top - bottom) * (1 - value / most);
	const shown = points.filter(p => Date.parse(p.time) >= begin);
	const parts = [];
	for (const part of [0, .5, 1]) {
		parts.push(s('line', { class: 'grid', x1: left, x2: width, y1: y(most * part), y2: y(most * part) }),
			s('text', { x: left - 8, y: y(most * part) + 4, 'text-anchor': 'end' }, part ? `${bytes(most * part)}/s` : '0'));
	}
	const marks = width < 500 ? 3 : range === 'day' ? 6 : 7;
	for (let i = 0; i < marks; i++) {
		const time = begin + (end - begin) * (i + .5) / marks;
		const label = range === 'day' ? new Date(time).toLocaleTimeString('en', { hour: '2-digit', minute: '2-digit', hour12: false }) : new Date(time).toLocaleDateString('en', { weekday: 'short', day: 'numeric' });
		parts.push(s('text', { x: x(time), y: height - 4, 'text-anchor': 'middle' }, label));
	}
	for (const [i, [field]] of fields.entries()) {
		if (how === 'bars') {
			const w = Math.max((width - left) * step / (end - begin) - 1, 1.5);
			parts.push(shown.filter(p => p[field + '_bytes']).map(p => s('rect', { class: field, x: x(Date.parse(p.time)), y: y(rate(p, field)), width: w, height: y(0) - y(rate(p, field)) })));
			continue;
		}
		for (const run of runs(shown, step)) {
			const along = (points, value) => points.map(p => `${x(Date.parse(p.time) + step / 2).toFixed(1)} ${y(value(p)).toFixed(1)}`).join('L');
			const line = along(run, p => below(p, i) + rate(p, field));
			parts.push(s('path', { class: field, d: `M${line}L${along([...run].reverse(), p => below(p, i))}z` }), s('path', { class: `line ${field}`, d: `M${line}` }));
		}
	}
	if (cursor && cursor.title === title && points[cursor.i]) {
		const at = x(Date.parse(points[cursor.i].time) + step / 2);
		parts.push(s('line', { class: 'cursor', x1: at, x2: at, y1: top, y2: height - bottom }));
	}
	const label = `${title}, last ${ranges[range][0]}: ` + fields.map(([field, name]) => `${name} ${bytes(points.reduce((n, p) => n + p[field + '_bytes'], 0))}`).join(', ');
	return s('svg', {
		class: 'chart', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label,
		onpointermove: event => {
			const box = event.currentTarget.getBoundingClientRect();
			const time = begin + (end - begin) * ((event.clientX - box.left) / box.width * width - left) / (width - left);
			const i = points.reduce((best, p, j) => Math.abs(Date.parse(p.time) + step / 2 - time) < Math.abs(Date.parse(points[best].time) + step / 2 - time) ? j : best, 0);
			if (!cursor || cursor.i !== i || cursor.title !== title) { cursor = { title, i }; changed() }
		},
		onpointerleave: () => { cursor = null; changed() },
	}, parts);
}

// runs cuts the points where some are missing: the gateway was off.
function runs(points, step) {
	const all = [];
	let last = null;
	for (const p of points) {
		const time = Date.parse(p.time);
		if (last === null || time - last > 1.5 * step) all.push([]);
		all[all.length - 1].push(p);
		last = time;
	}
	return all;
}

// nice is a round number of bytes that is no less.
function nice(n) {
	let unit = 1;
	while (unit * 1024 <= n) unit *= 1024;
	for (const step of [1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]) if (unit * step >= n) return unit * step;
	return n;
}
