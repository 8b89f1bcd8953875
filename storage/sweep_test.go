package storage

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// sweepEnv chooses what TestSweep runs: "full" for every case, a number for the
// sample of that seed instead of 1, or one case by the name that its failure printed.
const sweepEnv = "PULLGATE_SWEEP"

const (
	// sweepSample is how many cases of each scenario run by default.
	sweepSample = 3
	// sweepHang is how long one case may take.
	sweepHang = 2 * time.Minute
)

// atEnd is the operation after the last one.
const atEnd = "end"

// sweepCase is one way to spoil one scenario.
type sweepCase struct {
	at     string
	fault  fault
	outage bool // the power fails, too
}

func (c sweepCase) String() string {
	name := c.at + "/" + c.fault.String()
	if c.outage {
		name += "-outage"
	}
	return name
}

// outage is what the disk made of a power failure.
type outage struct {
	changes int  // how many changes of names got to the disk
	luck    luck // with the bytes
	index   bool // it is as it was when the process ended, and not as it began
}

// cases returns every way to spoil a scenario of these operations.
func cases(sc scenario, done []operation) []sweepCase {
	var all []sweepCase
	for _, op := range append(done, operation{name: atEnd}) {
		for _, f := range []fault{{crash: true}, {crash: true, short: true}} {
			if f.fails(op.kind) {
				all = append(all, sweepCase{at: op.name, fault: f})
				if !sc.rebuilds {
					all = append(all, sweepCase{at: op.name, fault: f, outage: true})
				}
			}
		}
		if op.name == atEnd {
			break
		}
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE} {
			for _, f := range []fault{{}, {on: true}, {short: true}, {short: true, on: true}, {late: errno == syscall.EIO}} {
				f.errno = errno
				if c := (sweepCase{at: op.name, fault: f}); f.fails(op.kind) && !slices.Contains(all, c) {
					all = append(all, c)
				}
			}
		}
	}
	return all
}

// Whatever operation fails, or is the last one before the process is killed or the
// power fails: no wrong byte is read, what was acknowledged is there, nothing is
// left over, and the store goes on.
func TestSweep(t *testing.T) {
	t.Parallel()
	chosen, seed := os.Getenv(sweepEnv), uint64(1)
	if n, err := strconv.ParseUint(chosen, 10, 64); err == nil {
		chosen, seed = "", n
	}
	t.Logf("seed %d", seed)
	seeded := t.TempDir()
	seedStore(t, seeded)
	var total sweepSize
	t.Cleanup(func() { t.Logf("all scenarios: %s", &total) })
	for k, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			one, isOne := strings.CutPrefix(chosen, sc.name+"/")
			if chosen != "" && chosen != "full" && !isOne {
				return
			}
			random := rand.New(rand.NewPCG(seed, uint64(k)))
			sw := sweep{scenario: sc, seeded: seeded, seed: seed, random: random, full: chosen != ""}
			done, _ := sw.run(t, sweepCase{})
			all := cases(sc, done)
			// What is done beside each other has no order.
			slices.SortFunc(all, func(a, b sweepCase) int { return strings.Compare(a.String(), b.String()) })
			some := all
			if isOne {
				some = slices.DeleteFunc(slices.Clone(all), func(c sweepCase) bool { return c.String() != one })
			} else if chosen == "" {
				some = slices.Clone(all)
				random.Shuffle(len(some), func(a, b int) { some[a], some[b] = some[b], some[a] })
				some = some[:min(len(some), sweepSample)]
			}
			sw.size.operations.Store(int64(len(done)))
			sw.size.cases.Store(int64(len(all)))
			for _, c := range some {
				if _, struck := sw.run(t, c); !struck {
					sw.size.missed.Add(1)
				}
				sw.size.ran.Add(1)
			}
			t.Logf("%s", &sw.size)
			total.add(&sw.size)
		})
	}
}

// sweepSize is how much a sweep covers.
type sweepSize struct{ operations, cases, ran, missed, outages atomic.Int64 }

func (z *sweepSize) add(other *sweepSize) {
	z.operations.Add(other.operations.Load())
	z.cases.Add(other.cases.Load())
	z.ran.Add(other.ran.Load())
	z.missed.Add(other.missed.Load())
	z.outages.Add(other.outages.Load())
}

func (z *sweepSize) String() string {
	return fmt.Sprintf("%d operations, %d cases of operation and fault or crash; ran %d, of which %d did not come about, and %d states of the disk after a power failure",
		z.operations.Load(), z.cases.Load(), z.ran.Load(), z.missed.Load(), z.outages.Load())
}

// sweep runs the cases of one scenario.
type sweep struct {
	scenario
	seeded string
	seed   uint64
	random *rand.Rand
	full   bool // every state after a power failure
	size   sweepSize
}

// run runs one case, and returns what was done and whether the fault came about.
func (sw *sweep) run(t *testing.T, c sweepCase) (done []operation, struck bool) {
	t.Helper()
	w := newWorld(t, sw.scenario, sw.seeded)
	rotten := maps.Clone(w.rotten)
	name := sw.name + "/" + c.String()
	hang := time.AfterFunc(sweepHang, func() { panic("case hangs: " + name) })
	defer hang.Stop()
	defer os.RemoveAll(w.dir)
	defer func() {
		if len(w.problems) > 0 {
			t.Errorf("%s\n\t%s\nrun it again by %s=%q go test -run TestSweep ./storage\n%s",
				name, strings.Join(w.problems, "\n\t"), sweepEnv, name, w.log)
		}
	}()
	var store atomic.Pointer[Store]
	crashed := func() {
		if s := store.Load(); s != nil && c.fault.crash {
			s.index.Leave() // from here on the index stays as it is, too
		}
	}
	open := func() {
		err := w.opens(t)
		if store.Store(w.s); err != nil && !sw.mayNotOpen(c) {
			w.problem("open: %v", err)
		}
	}
	if !sw.opening {
		open()
	}
	if len(w.problems) > 0 {
		return nil, false
	}
	w.files.arm(c.at, c.fault, crashed)
	if sw.verifies && c.fault.errno == syscall.EIO {
		// What cannot be read is as good as damaged.
		maps.Copy(w.doubted, w.must)
		clear(w.must)
	}
	if sw.opening {
		open()
	}
	if w.s != nil && sw.scenario.run != nil {
		sw.scenario.run(w)
	}
	if c.fault.on && c.fault.errno != syscall.EIO && c.fault.errno != syscall.EMFILE && w.s != nil {
		// What cannot be written can be read.
		for d := range w.must {
			w.wantSound(d, true)
		}
	}
	if c.at == atEnd {
		w.files.crash()
	}
	if done, struck = w.files.disarm(); c.fault.crash && struck {
		sw.afterCrash(t, w, c, rotten)
		return done, struck
	}
	if w.s != nil && !c.fault.on && !strings.HasPrefix(c.at, "remove ") {
		w.wantParts(false)
	}
	sw.afterFault(t, w)
	return done, struck
}

// mayNotOpen: a directory that cannot be read cannot be opened.
func (sw *sweep) mayNotOpen(c sweepCase) bool {
	return c.fault.crash || c.fault.errno == syscall.EIO || c.fault.errno == syscall.EMFILE
}

// afterFault audits a store that goes on without the fault, and once more when it
// is opened again.
func (sw *sweep) afterFault(t *testing.T, w *world) {
	t.Helper()
	fresh := w.s == nil
	for range 2 {
		if w.s == nil {
			if n := w.files.descriptors(); n != 0 {
				w.problem("%d descriptors are left open", n)
			}
			if err := w.opens(t); err != nil {
				w.problem("open again: %v", err)
				return
			}
		}
		w.audit(fresh, !sw.empty && (fresh || !sw.rebuilds), nil)
		w.ends()
		fresh = true
	}
}

// afterCrash audits the store that is opened next.
func (sw *sweep) afterCrash(t *testing.T, w *world, c sweepCase, rotten map[digest.Digest]bool) {
	t.Helper()
	if err := w.abandon(); err != nil {
		w.problem("abandon: %v", err)
	}
	if n := w.files.descriptors(); n != 0 {
		w.problem("%d descriptors are left open", n)
	}
	// Nobody remembers what was found.
	w.rotten = maps.Clone(rotten)
	if !c.outage {
		w.load(t, "boot 1")
		if err := w.opens(t); err != nil {
			w.problem("open again: %v", err)
			return
		}
		w.audit(true, !sw.empty, nil)
		w.ends()
		return
	}
	for _, o := range sw.outages(w.files.disk) {
		sw.size.outages.Add(1)
		after := *w
		after.problems, after.dir, after.again = nil, sweepDir(t), nil
		after.content, after.must, after.rotten, after.doubted = maps.Clone(w.content), make(map[digest.Digest]bool), maps.Clone(w.rotten), maps.Clone(w.doubted)
		after.planted = maps.Clone(w.planted)
		sw.afterOutage(t, w, &after, o)
		for _, p := range after.problems {
			w.problem("%+v: %s", o, p)
		}
		os.RemoveAll(after.dir)
	}
}

func (sw *sweep) afterOutage(t *testing.T, w, after *world, o outage) {
	t.Helper()
	names, err := w.files.disk.after(after.dir, o.changes, o.luck)
	if err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(w.dir, volume.MetaDir)
	if !o.index {
		from = filepath.Join(sw.seeded, volume.MetaDir)
	}
	if _, err := os.Stat(from); err == nil && names[volume.VersionFile] != nil {
		if err := os.CopyFS(filepath.Join(after.dir, volume.MetaDir), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	after.tear(names)
	after.load(t, "boot 2")
	if err := after.opens(t); err != nil {
		after.problem("open: %v", err)
		return
	}
	after.audit(true, !sw.empty, names)
	after.ends()
}

// outages returns what can become of a disk, or one thing that can.
func (sw *sweep) outages(d *disk) []outage {
	lucks := []luck{kept, lost, zeros, garbage}
	if !sw.full {
		return []outage{{sw.random.IntN(len(d.changes) + 1), lucks[sw.random.IntN(len(lucks))], sw.empty || sw.random.IntN(2) == 0}}
	}
	var all []outage
	for changes := range len(d.changes) + 1 {
		for _, l := range lucks {
			all = append(all, outage{changes, l, true})
			if !sw.empty {
				all = append(all, outage{changes, l, false})
			}
		}
	}
	return all
}

var sweepDirs atomic.Int64

// sweepDir returns a new directory, in memory if there is enough: the disk is a
// model, and the real one would only be waited for.
func sweepDir(t *testing.T) string {
	t.Helper()
	const memory = "/dev/shm"
	dir := filepath.Join(memory, fmt.Sprintf("pullgate-sweep-%d-%d", os.Getpid(), sweepDirs.Add(1)))
	if err := os.Mkdir(dir, 0o700); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		if root, err := volume.Open(dir, nil); err == nil {
			defer root.Close()
			if free, _, err := root.Bytes(); err == nil && free > 1<<30 {
				return dir
			}
		}
	}
	return t.TempDir()
}
