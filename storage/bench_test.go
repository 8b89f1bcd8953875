package storage

import (
	"fmt"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

func BenchmarkManifest(b *testing.B) {
	s := openTest(b, Options{})
	raw, d := content(1, 6<<10)
	if err := s.PutManifest(b.Context(), scope, oci.Manifest{Digest: d, Bytes: raw}, nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Manifest(b.Context(), d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutTag(b *testing.B) {
	s := openTest(b, Options{})
	_, d := content(1, 10)
	n := 0
	for b.Loop() {
		n++
		if err := s.PutTag(b.Context(), scope, fmt.Sprint("t", n%1000), Tag{Digest: d, Size: int64(n)}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenBlob(b *testing.B) {
	s := openTest(b, Options{})
	raw, d := content(1, 1<<10)
	putBlob(b, s, raw)
	b.ReportAllocs()
	for b.Loop() {
		f, _, err := s.OpenBlob(b.Context(), d)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkFill writes and commits blobs.
func BenchmarkFill(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			s := openTest(b, Options{})
			raw, _ := content(1, size)
			b.SetBytes(int64(size))
			var n uint64
			for b.Loop() {
				n++
				// Only the name has to differ.
				_, d := content(n, 8)
				p, err := s.Part(b.Context(), scope, d, int64(size))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.WriteAt(raw, 0); err != nil {
					b.Fatal(err)
				}
				if err := p.Commit(int64(size)); err != nil {
					b.Fatal(err)
				}
				p.Close()
			}
		})
	}
}
