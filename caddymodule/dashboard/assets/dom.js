// The DOM, made by functions and brought up to date in place: text is text, never
// markup, whatever upstreams and clients call things.

const handlers = ['onclick', 'oninput', 'onchange', 'onsubmit', 'onkeydown', 'onpointermove', 'onpointerleave', 'ontoggle'];

function fill(element, props, children) {
	for (const [name, value] of Object.entries(props || {})) {
		if (value === undefined || value === null || value === false) continue;
		if (name.startsWith('on')) element[name] = value;
		else if (name === 'style') for (const [property, v] of Object.entries(value)) element.style.setProperty(property, v);
		else if (name !== 'value') element.setAttribute(name === 'class' ? 'class' : name, value === true ? '' : String(value));
	}
	for (const child of children.flat(9)) {
		if (child === undefined || child === null || child === false || child === '') continue;
		element.append(child instanceof Node ? child : String(child));
	}
	if (props && props.value !== undefined) element.value = props.value;
	return element;
}

// h makes an element of HTML, and s one of SVG.
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);

// show makes the content of an element what the nodes are. What is the same stays, with
// its focus, its selection and its place.
export function show(element, ...nodes) {
	sync(element, nodes.flat(9).filter(node => node));
}

function sync(element, wanted) {
	const have = [...element.childNodes];
	wanted.forEach((node, i) => {
		const old = have[i];
		if (!old) element.append(node);
		else if (!morph(old, node)) element.replaceChild(node, old);
	});
	for (const old of have.slice(wanted.length)) old.remove();
}

function morph(old, node) {
	if (old.nodeType !== node.nodeType || old.nodeName !== node.nodeName) return false;
	if (old.nodeType === Node.TEXT_NODE) {
		if (old.nodeValue !== node.nodeValue) old.nodeValue = node.nodeValue;
		return true;
	}
	if (old.dataset.key !== node.dataset.key) return false;
	const kept = name => name === 'style' || name === 'open' && (old.nodeName === 'DETAILS' || old.nodeName === 'DIALOG');
	for (const { name } of [...old.attributes]) {
		if (!node.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
	}
	for (const { name, value } of node.attributes) {
		if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);
	}
	if (old.style.cssText !== node.style.cssText) old.style.cssText = node.style.cssText;
	for (const name of handlers) if (old[name] !== node[name]) old[name] = node[name];
	const value = node.value;
	sync(old, [...node.childNodes]);
	if (value !== undefined && old.value !== value && old !== document.activeElement) old.value = value;
	return true;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(n) {
	n = Math.max(n || 0, 0);
	let unit = 0;
	while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit++ }
	return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

export const number = n => (n || 0).toLocaleString('en');
export const percent = share => `${share > 0 && share < .1 ? (100 * share).toFixed(1) : Math.round(100 * share)} %`;
export const plural = (n, word) => `${number(n)} ${word}${n === 1 ? '' : 's'}`;

// lasting is a time that something takes, in seconds.
export function lasting(seconds) {
	if (!(seconds > 0)) return '0 s';
	if (seconds < 1) return `${Math.max(Math.round(seconds * 1000), 1)} ms`;
	if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
	if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
	if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.round(seconds % 3600 / 60)} min`;
	return `${Math.floor(seconds / 86400)} d ${Math.round(seconds % 86400 / 3600)} h`;
}

let skew = 0; // of this clock beside that of the gateway

export function setClock(now) { skew = Date.parse(now) - Date.now() }
export const now = () => Date.now() + skew;

export function ago(time) {
	if (!time) return 'never';
	const seconds = Math.max((now() - Date.parse(time)) / 1000, 0);
	if (seconds < 5) return 'just now';
	if (seconds < 90) return `${Math.round(seconds)} s ago`;
	if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
	if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
	return `${Math.round(seconds / 86400)} d ago`;
}

// roughly is when something was, of what may be known to the hour only.
export function roughly(time) {
	if (!time) return '–';
	const hourly = time.includes(':00:00') && now() - Date.parse(time) < 7200000;
	return hourly ? h('span', { title: new Date(time).toLocaleString('en') }, 'within 2 h') : when(time);
}

// clock is a moment of these days.
export function clock(time) {
	const at = new Date(time);
	const day = at.toDateString() === new Date().toDateString() ? '' : at.toLocaleDateString('en', { month: 'short', day: 'numeric' }) + ' ';
	return day + at.toLocaleTimeString('en', { hour: '2-digit', minute: '2-digit', hour12: false });
}

// when is how long ago something was, with the moment to hover over.
export const when = time => time ? h('time', { datetime: time, title: new Date(time).toLocaleString('en') }, ago(time)) : h('span', { class: 'dim' }, 'never');

// ticks sets what stands between backquotes as code.
export function ticks(text) {
	return text.split('`').map((part, i) => i % 2 ? h('code', {}, part) : part);
}

// table has columns as [heading, class]; each row is a list of cells.
export function table(caption, columns, rows) {
	return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption }, h('table', { class: 'fold' },
		h('caption', { class: 'unseen' }, caption),
		h('thead', {}, h('tr', {}, columns.map(([name, of]) => h('th', { scope: 'col', class: of }, name)))),
		h('tbody', {}, rows.map(cells => h('tr', {}, cells.map((cell, i) =>
			h('td', { class: columns[i][1], 'data-label': i > 0 ? columns[i][0] : undefined }, cell)))))));
}

// bar shows parts of a whole as [share, class].
export function bar(label, parts, thick) {
	return h('div', { class: thick ? 'bar thick' : 'bar', role: 'img', 'aria-label': label },
		parts.filter(([share]) => share > 0).map(([share, of]) => h('i', { class: of, style: { width: `${Math.min(100 * share, 100)}%` } })));
}

export const legend = entries => h('p', { class: 'legend' }, entries.map(([of, text]) => h('span', {}, h('i', { class: `key ${of}` }), text)));
export const badge = (of, text) => h('span', { class: `badge ${of}` }, text);
export const empty = text => h('p', { class: 'empty' }, text);

export function card(title, ...content) {
	const aside = content[0] && content[0].aside;
	return h('section', { class: 'card', 'aria-label': title }, h('div', { class: 'head' }, h('h2', {}, title), aside), content.slice(aside ? 1 : 0));
}
