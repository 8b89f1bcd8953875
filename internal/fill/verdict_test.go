package fill

import (
	"errors"
	"io"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// What is released, and what comes behind that.
func TestReleasable(t *testing.T) {
	t.Parallel()
	const large, small = 4 << 20, WholeSize
	broken := errors.New("broken")
	open := func(size int64, change func(*verdict)) verdict {
		v := verdict{sizing: sizing{size: size, hint: -1}, opened: true}
		if change != nil {
			change(&v)
		}
		return v
	}
	at := &split{at: 1000}
	for name, test := range map[string]struct {
		v         verdict
		off, told int64
		limit     int64
		past, err error
	}{
		"not opened":          {verdict{sizing: sizing{size: -1}}, 0, large, 0, nil, nil},
		"large":               {open(large, nil), 0, large, large - heldBack, nil, nil},
		"small":               {open(small, nil), 0, small, 0, nil, nil},
		"no size":             {open(-1, nil), 0, large, 0, nil, nil},
		"disputed":            {open(large, func(v *verdict) { v.disputed = true }), 0, large, 0, nil, nil},
		"another size":        {open(large, nil), 0, large - 1, 0, nil, errSize(large-1, large)},
		"verified":            {open(small, func(v *verdict) { v.verified = true }), 10, small, small, nil, nil},
		"verified, disputed":  {open(small, func(v *verdict) { v.verified, v.disputed = true, true }), 10, small, small, nil, nil},
		"verified, the end":   {open(small, func(v *verdict) { v.verified = true }), small, small, 0, nil, io.EOF},
		"failed":              {open(small, func(v *verdict) { v.err = broken }), 0, small, 0, nil, broken},
		"split":               {open(large, func(v *verdict) { v.split = at }), 0, large, 1000, errDetached, nil},
		"split, at it":        {open(large, func(v *verdict) { v.split = at }), 1000, large, 1000, errDetached, nil},
		"split, behind it":    {open(large, func(v *verdict) { v.split = at }), 1001, large, large - heldBack, errDetached, nil},
		"split, after it all": {open(large, func(v *verdict) { v.split = at }), large, large, large - heldBack, io.ErrUnexpectedEOF, nil},
	} {
		limit, past, err := test.v.releasable(test.off, test.told)
		if limit != test.limit || !errors.Is(past, test.past) || (err == nil) != (test.err == nil) ||
			err != nil && err.Error() != test.err.Error() {
			t.Errorf("%s: up to %d, then %v, %v", name, limit, past, err)
		}
	}
}

// A reader begins as soon as no proper error can be lost.
func TestVerdictIsReady(t *testing.T) {
	t.Parallel()
	const large = 4 << 20
	for name, test := range map[string]struct {
		v     verdict
		told  int64
		ready bool
		class oci.Class
	}{
		"not opened":       {verdict{sizing: sizing{size: -1}}, large, false, oci.ClassNone},
		"large":            {verdict{opened: true, sizing: sizing{size: large}}, -1, true, oci.ClassNone},
		"as told":          {verdict{opened: true, sizing: sizing{size: large}}, large, true, oci.ClassNone},
		"not as told":      {verdict{opened: true, sizing: sizing{size: large}}, large + 1, false, oci.ClassNone},
		"disputed":         {verdict{opened: true, sizing: sizing{size: large, disputed: true}}, large, false, oci.ClassNone},
		"learned":          {verdict{opened: true, sizing: sizing{size: large, learned: true}}, large, false, oci.ClassNone},
		"small":            {verdict{opened: true, sizing: sizing{size: 1}}, 1, false, oci.ClassNone},
		"small, verified":  {verdict{opened: true, sizing: sizing{size: 1}, verified: true}, 1, true, oci.ClassNone},
		"small, passes":    {verdict{opened: true, sizing: sizing{size: 1}, split: &split{}}, 1, true, oci.ClassNone},
		"unknown, passes":  {verdict{opened: true, sizing: sizing{size: -1}, split: &split{}}, 1, false, oci.ClassLength},
		"failed":           {verdict{err: ErrClosed(), verified: true}, 1, false, oci.ClassCanceled},
		"verified another": {verdict{opened: true, sizing: sizing{size: large}, verified: true}, large + 1, true, oci.ClassNone},
	} {
		size, ready, err := test.v.ready(test.told)
		if ready != test.ready || ready && size != test.v.size || oci.ClassOf(err) != test.class {
			t.Errorf("%s: %d bytes, %t, %v", name, size, ready, err)
		}
	}
}

// The first error counts, what breaks off is no error but in memory, and the hint does
// only where it is not too late.
func TestOutcome(t *testing.T) {
	t.Parallel()
	first, second := errors.New("first"), errors.New("second")
	var o outcome
	o.breakOff(first)
	o.breakOff(second)
	if v := o.now(); !errors.Is(v.cause, first) || v.err != nil || !o.halted() || o.well() || !errors.Is(v.broken(), first) {
		t.Errorf("%+v", v)
	}
	o.update(func(v *verdict) { v.inMemory = true })
	if o.halted() || o.well() {
		t.Error("the cause stops what is in memory")
	}
	o.breakOff(second)
	o.fail(first)
	if v := o.now(); !errors.Is(v.err, second) || errors.Is(v.err, first) || !o.halted() {
		t.Errorf("%+v", v)
	}

	var h hasher
	h.restart(0, -1)
	o = outcome{verdict: verdict{sizing: sizing{size: -1, hint: 4 << 20}}}
	if o.trustHint(&h) {
		t.Error("the hint is trusted before it is opened")
	}
	o.update(func(v *verdict) { v.opened = true })
	if !o.trustHint(&h) || o.size() != 4<<20 || h.size != 4<<20 || o.trustHint(&h) {
		t.Error("the hint is not trusted, or twice")
	}
	if err := o.end(&h, 100, -1); oci.ClassOf(err) != oci.ClassLength {
		t.Errorf("a blob that is shorter than was guessed: %v", err)
	}
	if err := o.end(&h, 100, 4<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that is cut: %v", err)
	}
	o = outcome{verdict: verdict{sizing: sizing{size: -1, hint: -1}, opened: true}}
	if err := o.end(&h, 100, -1); err != nil || o.size() != 100 || h.size != 100 || !o.now().learned {
		t.Errorf("the end tells the size: %v", err)
	}
	if !o.rest(true) || o.rest(true) || !o.rest(false) {
		t.Error("a change is told twice or not at all")
	}
}

// A client makes a fill its own; nobody else's refusal ends it then.
func TestAudience(t *testing.T) {
	t.Parallel()
	refusal := errors.New("refused")
	var o outcome
	a := newAudience(true, 100)
	if a.clients() != 0 || !a.isAhead() || a.refuse(&o, 100) || !a.refuse(&o, 101) || o.now().err == nil {
		t.Error("what is ahead has no bound")
	}
	if a.join(&o) || a.clients() != 0 {
		t.Error("a client joins a fill that has failed")
	}
	o = outcome{}
	if !a.join(&o) || a.clients() != 1 || a.isAhead() || a.refuse(&o, -1) || a.abandon(&o, refusal) || o.now().err != nil {
		t.Error("a client's fill ends as one that is ahead")
	}
	if a.leave() || !a.leave() {
		t.Error("the last one is not the last")
	}
	a = newAudience(true, 0)
	if a.refuse(&o, -1) || !a.abandon(&o, refusal) || !errors.Is(o.now().err, refusal) {
		t.Error("what is ahead is not abandoned")
	}
}
