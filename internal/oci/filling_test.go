package oci

import (
	"errors"
	"io"
	"io/fs"
	"testing"
	"time"
)

func TestSeekTo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		offset int64
		whence int
		want   int64 // -1 = an error
	}{
		{7, io.SeekStart, 7},
		{200, io.SeekStart, 200},
		{-1, io.SeekStart, -1},
		{7, io.SeekCurrent, 17},
		{-10, io.SeekCurrent, 0},
		{-11, io.SeekCurrent, -1},
		{-7, io.SeekEnd, 93},
		{1, io.SeekEnd, 101},
		{0, 3, -1},
	} {
		got, err := SeekTo(10, 100, test.offset, test.whence)
		if test.want < 0 && (!errors.Is(err, fs.ErrInvalid) || got != 10) || test.want >= 0 && (err != nil || got != test.want) {
			t.Errorf("%d from %d: %d, %v", test.offset, test.whence, got, err)
		}
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]bool{-1: false, 0: true, 9: true, 10: false} {
		if Within(age, 10) != want {
			t.Errorf("an age of %d: want %t", age, want)
		}
	}
}
