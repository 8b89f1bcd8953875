package pulls

// layer is a blob of a pull: what requests for it wait for, and how they fared.
type layer struct {
	size int64 // -1 = not known
	sent int64 // to the client

	filling bool // it is being downloaded, for whomever
	asking  bool // and the upstream was asked
	brought bringing
	waiting int // requests whose answer has not begun
	readers int // requests whose answer has

	planned bool // a manifest names it
	done    bool // it was answered in full
	fault   fault
}

// bringing says why a blob was downloaded for a pull.
type bringing int

const (
	broughtNot bringing = iota
	broughtAhead
	broughtOnDemand
)

// fault is what went wrong last; nothing, once it was answered.
type fault int

const (
	faultNone fault = iota
	faultAborted
	faultFailed
)

// waits is the phase of requests whose answer has not begun.
func (l *layer) waits() phase {
	if l.asking {
		return phaseFirstByte
	}
	return phaseQueue
}

// reads is the phase of those whose answer has.
func (l *layer) reads() phase {
	if l.filling {
		return phaseTransfer
	}
	return phaseClient
}

// shift changes how the blob's download fares, and with that what its requests wait for.
func (l *layer) shift(c *course, filling, asking bool) {
	waits, reads := l.waits(), l.reads()
	l.filling, l.asking = filling, filling && asking
	c.move(l.waiting, waits, l.waits())
	c.move(l.readers, reads, l.reads())
}

// answered notes that a request was answered, with the whole or a part, and reports whether
// the client has all of it since.
func (l *layer) answered(n int64, whole bool) bool {
	l.sent, l.fault = l.sent+n, faultNone
	before := l.done
	l.done = l.done || whole || l.size >= 0 && l.sent >= l.size
	return l.done && !before
}
