package storage

import (
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// processBytes returns a number of /proc/self/status in bytes.
func processBytes(t testing.TB, name string) int64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), name+":")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kib, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// processorTime returns how long the process has run on any processor.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// raced reports whether the race detector, which takes time and memory, is on.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// syntheticID returns the id of a blob that nobody has the bytes of.
func syntheticID(n int) id {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(n)+1)
	sum := make([]byte, 32)
	_, _ = rand.NewChaCha8(key).Read(sum)
	return id(append([]byte{algorithmSHA256}, sum...))
}

// makeSynthetic records blobs of 1000 bytes, of which the first have files.
func makeSynthetic(t testing.TB, dir string, records, files int) {
	t.Helper()
	s := openTest(t, Options{Path: dir, Quiet: true})
	now := time.Now()
	for n := 0; n < records; n += maxUsesWrite {
		err := s.index.update(maxUsesWrite*linkBytes, func(b *batch) error {
			for k := n; k < min(n+maxUsesWrite, records); k++ {
				i, age := syntheticID(k), time.Duration(k*7919%records)*time.Hour/100
				err := b.putBlob(i, blobRecord{size: 1000, created: now.Add(-age - time.Hour), origin: []string{"docker.io", "ghcr.io"}[k%2]})
				if err == nil && k%3 == 0 {
					err = b.put(i.key(tableUse), hourOf(now.Add(-age)).encode())
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	bytes := make([]byte, 1000)
	for n := range files {
		name := filepath.Join(dir, syntheticID(n).blobPath())
		err := os.WriteFile(name, bytes, 0o400)
		if os.IsNotExist(err) {
			if err = os.MkdirAll(filepath.Dir(name), 0o700); err == nil {
				err = os.WriteFile(name, bytes, 0o400)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A store with many blobs opens at once, and evicts in little time and memory.
// PULLGATE_LONG makes it a million records and 200,000 files, and asserts that.
func TestScale(t *testing.T) {
	records, files, long := 20_000, 2_000, os.Getenv("PULLGATE_LONG") != ""
	if long {
		records, files = 1_000_000, 200_000
	}
	dir := t.TempDir()
	began := time.Now()
	makeSynthetic(t, dir, records, files)
	t.Logf("made %d records and %d files in %v", records, files, time.Since(began))
	runtime.GC()

	log := newMessages()
	before := processBytes(t, "VmRSS")
	// Begin the peak anew.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	s := openTest(t, Options{Path: dir, Logger: slog.New(log)})
	f, _, err := s.OpenBlob(t.Context(), syntheticID(1).digest())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	opened := time.Since(began)
	defer f.Close()
	for !s.Usage().Counted {
		time.Sleep(time.Millisecond)
	}
	counted := time.Since(began)
	if u := s.Usage(); u.Blobs != int64(records) || u.Upstreams["ghcr.io"] != int64(records/2*1000) {
		t.Errorf("usage is %+v", u)
	}
	settle(t, s)

	// A little too much, as when a limit is reached: 25,000 of a million go.
	u := s.Usage()
	limits := Limits{MaxSize: u.BlobBytes / 1000 * 995, Upstreams: map[string]int64{"ghcr.io": u.Upstreams["ghcr.io"] / 100 * 99}}
	pin, err := oci.ParsePin("docker.io/library/alpine")
	if err != nil {
		t.Fatal(err)
	}
	limits.Pins, limits.MaxUnused = []oci.Pin{pin}, 410*24*time.Hour
	spent := processorTime(t)
	began = time.Now()
	s.SetLimits(limits)
	log.wait(t, "evicted blobs")
	evicted := time.Since(began)
	spent = processorTime(t) - spent
	peak := processBytes(t, "VmHWM") - before
	u = s.Usage()
	t.Logf("first byte after %v, counted after %v; %d blobs evicted in %v, %v of them on a processor; peak of memory %+d MiB over %d MiB, %d MiB of files are mapped",
		opened, counted, u.EvictedBlobs, evicted, spent, peak>>20, before>>20, processBytes(t, "RssFile")>>20)
	if u.BlobBytes > limits.MaxSize || u.Upstreams["ghcr.io"] > limits.Upstreams["ghcr.io"] {
		t.Errorf("usage is %+v", u)
	}
	if long && !raced() && (opened > time.Second || evicted > 5*time.Second || peak > 300<<20) {
		t.Error("more than 1 s, 5 s or 300 MiB")
	}
}
