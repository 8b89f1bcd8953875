package integrity

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// placing orders what moves files to the place of a blob and away from it. It is held
// while they are moved: what was found out of a file must still be true of it then. Only
// who moves the same blob waits for that, and few others.
type placing [64]sync.Mutex

func (p *placing) lock(i volume.ID) (unlock func()) {
	mu := &p[i[1]%byte(len(p))]
	mu.Lock()
	return mu.Unlock
}

// Quarantine takes a blob that is not what its name says out of use, and keeps
// it for whoever wants to find out what happened. One that does not fit there,
// or on a disk without space to spare, is removed. One that cannot be removed
// either is condemned, and looked at again later. It reports false if the file is
// not the one that was found to be damaged any more; nil = whichever is there.
func (j *Judge) Quarantine(i volume.ID, found fs.FileInfo, why error) bool {
	defer j.placing.lock(i)()
	var left error // nil = the file is not there any more
	if found != nil {
		if left = j.unchanged(i, found); errors.Is(left, fs.ErrNotExist) {
			return false
		}
	}
	if j.Suspects.Condemn(i) {
		j.Log.Error("blob is damaged and taken out of use", "digest", i.Digest(), "error", why)
		j.damaged.Add(1)
	}
	if left == nil {
		if err := j.quarantine.keep(i, why); err != nil {
			left = j.Unlink(i)
			j.Log.Warn("damaged blob not kept", "digest", i.Digest(), "error", err)
		}
	}
	j.Drop(i)
	if left == nil {
		j.Suspects.Absolve(i)
	} else {
		j.Log.Warn("damaged blob is left in its place", "digest", i.Digest(), "error", left)
		j.recheckSoon()
	}
	return true
}

// Place calls what moves a verified file to the place of a blob.
func (j *Judge) Place(i volume.ID, move func() error) error {
	defer j.placing.lock(i)()
	err := move()
	if err == nil {
		j.Suspects.Absolve(i)
	}
	return err
}

// Withdraw takes away what was placed, if it still is there. What cannot be taken away
// is condemned: a look at it tells later what it is.
func (j *Judge) Withdraw(i volume.ID, f volume.File) error {
	defer j.placing.lock(i)()
	info, err := f.Stat()
	if err == nil {
		err = j.unchanged(i, info)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	j.Suspects.Condemn(i)
	j.Drop(i)
	if err == nil {
		err = j.Unlink(i)
	}
	if err != nil {
		j.recheckSoon()
		return err
	}
	j.Suspects.Absolve(i)
	return nil
}

// recheckSoon asks for another look at what was condemned, and does not wait.
func (j *Judge) recheckSoon() {
	select {
	case j.recheck <- struct{}{}:
	default:
	}
}

// RecordTrusted records the blobs that are trusted though the index does not know
// them yet: what takes space has to be accounted for. It reports whether none is
// left.
func (j *Judge) RecordTrusted() bool {
	trusted, doubt := j.Suspects.trusted()
	all := true
	for _, i := range trusted {
		if _, known := j.Records.Size(i); known {
			if !doubt {
				j.Suspects.Forget(i)
			}
			continue
		}
		info, err := j.Root.Lstat(i.BlobPath())
		if errors.Is(err, fs.ErrNotExist) {
			j.Suspects.Forget(i)
			continue
		}
		if err != nil {
			j.Log.Debug("blob is still not recorded", "digest", i.Digest(), "error", err)
			all = false
			continue
		}
		if err := j.record(i, info, j.Now()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			j.Log.Debug("blob is still not recorded", "digest", i.Digest(), "error", err)
			return false
		}
	}
	return all
}

// NoteUnaccounted writes down, at the end, whether there are files that nobody
// accounts for: only who verified or condemned them knows of these.
func (j *Judge) NoteUnaccounted() {
	all := false
	j.Life.Survives("record what is trusted", func() { all = j.RecordTrusted() })
	condemned := j.Suspects.Condemned()
	if all && len(condemned) == 0 {
		return
	}
	// With a record, the next store would trust them.
	err := j.Records.DropAll(slices.Clip(condemned))
	j.State.Note(func(st *volume.State) {
		st.Unaccounted = true
		if err != nil && len(condemned) > 0 {
			st.Suspect, st.Trusted = time.Unix(1, 0), j.Now().Add(trustMargin)
		}
	})
}
