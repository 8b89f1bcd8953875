package peers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is what lives at addresses.
type world struct {
	mu     sync.Mutex
	answer map[string]greeting
}

func (w *world) set(address string, answer greeting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if answer.id == "" {
		delete(w.answer, address)
	} else {
		w.answer[address] = answer
	}
}

// ask is silent for those who do not live.
func (w *world) ask(ctx context.Context, address string) (greeting, error) {
	w.mu.Lock()
	answer, ok := w.answer[address]
	w.mu.Unlock()
	if ok {
		return answer, nil
	}
	<-ctx.Done()
	return greeting{}, errors.New("silence")
}

// live runs a test with the members that self sees at addresses.
func live(t *testing.T, w *world, test func(t *testing.T, m *members, discover func(...string))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		m := newMembers("self", askEvery, w.ask, slog.New(slog.DiscardHandler))
		test(t, m, func(addresses ...string) {
			for _, address := range m.discover(addresses) {
				running.Go(func() { m.watch(ctx, address) })
			}
			synctest.Wait()
		})
		cancel()
		m.close()
		running.Wait()
	})
}

// known returns the ids of those who are asked.
func (m *members) known() map[string]*Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := map[string]*Member{}
	for _, one := range m.alive {
		ids[one.id] = one
	}
	return ids
}

func isLost(m *Member) bool {
	select {
	case <-m.Lost():
		return true
	default:
		return false
	}
}

// Silence alone removes: three answers that are missed.
func TestSilenceRemoves(t *testing.T) {
	w := &world{answer: map[string]greeting{"a": {id: "1"}, "b": {id: "2"}, "c": {id: "self"}}}
	live(t, w, func(t *testing.T, m *members, discover func(...string)) {
		discover("a", "b", "c")
		known := m.known()
		if len(known) != 2 || known["1"] == nil || known["2"] == nil {
			t.Fatalf("%v", known)
		}
		discover() // DNS is empty
		time.Sleep(time.Minute)
		if n := len(m.known()); n != 2 {
			t.Errorf("%d are known once nothing names them", n)
		}
		discover("a")
		w.set("a", greeting{})
		w.set("b", greeting{})
		time.Sleep(1900 * time.Millisecond)
		w.set("a", greeting{id: "1"}) // two answers missed
		time.Sleep(time.Second)
		if isLost(known["1"]) || isLost(known["2"]) {
			t.Error("lost too early")
		}
		time.Sleep(2 * time.Second)
		if isLost(known["1"]) || !isLost(known["2"]) || m.known()["1"] != known["1"] || len(m.known()) != 1 {
			t.Errorf("%v", m.known())
		}
		w.set("b", greeting{id: "2"})
		time.Sleep(time.Minute)
		if n := len(m.known()); n != 1 {
			t.Errorf("%d are known, of whom one is named by nothing", n)
		}
		discover("a", "b")
		if n := len(m.known()); n != 2 {
			t.Errorf("%d are known again", n)
		}
	})
}

// Who is about to end is asked nothing more, and what it sends goes on.
func TestDraining(t *testing.T) {
	w := &world{answer: map[string]greeting{"a": {id: "1"}}}
	live(t, w, func(t *testing.T, m *members, discover func(...string)) {
		discover("a")
		one := m.known()["1"]
		w.set("a", greeting{id: "1", draining: true})
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if len(m.known()) != 0 || isLost(one) {
			t.Errorf("%v", m.known())
		}
		if s := m.status(); len(s) != 1 || !s[0].Draining || s[0].Instance != "1" {
			t.Errorf("%+v", s)
		}
		w.set("a", greeting{id: "1"})
		time.Sleep(time.Second)
		synctest.Wait()
		if m.known()["1"] != one {
			t.Errorf("%v", m.known())
		}
	})
}

// An instance that has begun anew is another member, one with two addresses is one, and
// the own address is none.
func TestInstances(t *testing.T) {
	w := &world{answer: map[string]greeting{"a": {id: "1"}, "a2": {id: "1"}}}
	live(t, w, func(t *testing.T, m *members, discover func(...string)) {
		discover("a", "a2", "b")
		old := m.known()["1"]
		if old == nil || len(m.known()) != 1 {
			t.Fatalf("%v", m.known())
		}
		w.set("a", greeting{id: "2"})
		w.set("a2", greeting{id: "2"})
		w.set("b", greeting{id: "self"})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !isLost(old) || len(m.known()) != 1 || m.known()["2"] == nil {
			t.Errorf("%v", m.known())
		}
		silent, self := 0, ""
		for _, s := range m.status() {
			if s.Self {
				self = s.Address
			}
			if s.Error != "" {
				silent++
			}
		}
		if silent != 0 || self != "b" {
			t.Errorf("%+v", m.status())
		}
	})
}

// A name that is not found any more means what it meant.
func TestNames(t *testing.T) {
	t.Parallel()
	found, failure := []string{"10.0.0.1", "fd00::1"}, error(nil)
	n := names{log: slog.New(slog.DiscardHandler), found: map[string][]string{}, lookUp: func(context.Context, string) ([]string, error) {
		return found, failure
	}}
	want := func(want ...string) {
		t.Helper()
		got := n.addresses(t.Context(), []string{"gateways:5001", "10.0.0.9:5002"})
		if len(got) != len(want) {
			t.Fatalf("%v, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%v, want %v", got, want)
			}
		}
	}
	want("10.0.0.1:5001", "[fd00::1]:5001", "10.0.0.9:5002")
	found = nil
	want("10.0.0.1:5001", "[fd00::1]:5001", "10.0.0.9:5002")
	failure = errors.New("no such host")
	want("10.0.0.1:5001", "[fd00::1]:5001", "10.0.0.9:5002")
	found, failure = []string{"10.0.0.2"}, nil
	want("10.0.0.2:5001", "10.0.0.9:5002")
}
