package storage

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// heldVolume makes the store believe in a file system of which so many bytes are free
// beside what it holds now.
func heldVolume(s *Store, free, total int64) {
	free += s.home.ledger.Used()
	s.home.space.Measure(func() (int64, int64, error) { return free - s.home.ledger.Used(), total, nil })
}

// A part for which an upstream has no byte evicts nothing, neither under a limit nor
// on a full disk, and takes no room. With its first byte room is made, and waited for.
func TestRoomIsMadeForTheFirstByte(t *testing.T) {
	t.Parallel()
	const total = 200_000
	for name, limit := range map[string]func(*Store){
		"limit": func(s *Store) { s.SetLimits(Limits{MaxSize: 20_000}) },
		"disk":  func(s *Store) { heldVolume(s, volume.Floor(total)+volume.Floor(total)/8, total) },
	} {
		t.Run(name, func(t *testing.T) {
			log := newMessages()
			c := newClock()
			s := openTest(t, Options{Logger: slog.New(log), Now: c.now})
			for k := range 20 {
				b, _ := content(uint64(k), 1000)
				putBlob(t, s, b)
				c.move(time.Hour)
			}
			_, d := content(99, 1)
			limit(s)
			p := beginPart(t, s, d, 5000)
			s.limits.Soon()
			s.keeper.eviction.Pass(t.Context())
			if err := p.Remove(); err != nil {
				t.Fatal(err)
			}
			if u := s.Usage(); u.Blobs != 20 || u.FillBytes != 0 {
				t.Errorf("usage is %+v", u)
			}
			b, d := content(100, 3000)
			p = beginPart(t, s, d, 3000)
			if name == "disk" {
				heldVolume(s, volume.Floor(total)-1, total) // what others write
			}
			if _, err := p.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
			if err := p.Commit(3000); err != nil {
				t.Error(err)
			}
			if u := s.Usage(); u.Blobs >= 20 || u.Blobs < 3 {
				t.Errorf("usage is %+v", u)
			}
		})
	}
}

// Where nothing can go for it, the first byte does not wait for long, and a part that
// could not even then be kept is refused before.
func TestNoRoomForTheFirstByte(t *testing.T) {
	s, _, _, ds := evictable(t, 8)
	for _, d := range ds {
		f, _, err := s.OpenBlob(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	setVolume(s, volume.Floor(1<<30), 1<<30)
	_, err := s.Part(t.Context(), scope, digest.FromString("large"), 2001)
	wantErr(t, "part", err, syscall.ENOSPC)
	b, d := content(99, 2000)
	began := time.Now()
	_, err = beginPart(t, s, d, 2000).WriteAt(b, 0)
	wantErr(t, "first byte", err, ErrNoSpace)
	if took := time.Since(began); took > eviction.RoomPatience/2 {
		t.Errorf("it took %v", took)
	}
	if u := s.Usage(); u.Blobs != 8 {
		t.Errorf("usage is %+v", u)
	}
}
