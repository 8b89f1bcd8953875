package storage

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Options say where a store lies and how it behaves. Only Path is required.
type Options struct {
	// Path is the directory. It is made if there is none; one that holds
	// anything else is refused.
	Path string
	// Limits can be changed later by SetLimits.
	Limits Limits
	// Logger; nil = nothing is logged.
	Logger *slog.Logger
	// Now is the clock of all times that are stored; nil = time.Now.
	Now func() time.Time
	// LockWait is how long Open waits for a store that still has the directory,
	// such as an earlier one of this process that is closing. 0 = 10 s, less =
	// not at all.
	LockWait time.Duration
	// Existing refuses a directory that is no store yet: fs.ErrNotExist.
	Existing bool
	// Quiet keeps a store from evicting, sweeping and scrubbing by itself:
	// for a command that opens it to look after it, and nobody else uses it meanwhile.
	Quiet bool
	// Inspect is Quiet, and leaves an index that is damaged, or lacks something,
	// as it is: the first is ErrNoIndex.
	Inspect bool

	// Panicked is called when something panics that the store does in the
	// background: it is logged and tried again later. It may be called from any
	// goroutine. nil = nobody hears of it but the log.
	Panicked func()

	rebuild bool // sets the index aside and begins it anew
	seams
}

// seams are what only tests set.
type seams struct {
	volume func() (free, total int64, err error) // nil = that of the files
	inodes func() (free, total int64, err error) // nil = those of the files
	over   func(volume.Files) volume.Files       // what lies over the file system; nil = nothing
	// uptime is the clock that nobody sets, from the opening on; nil = that of Now.
	uptime func() time.Duration

	retry    time.Duration // 0 = indexRetry
	patience time.Duration // 0 = index.ClosePatience
	way      time.Duration // 0 = eviction.RoomPatience
	save     time.Duration // 0 = saveEvery
	rest     time.Duration // 0 = life.RestFirst
	unbacked func() uint64 // nil = mapfault.Count
}

// setDefaults fills in the options that are functions and times.
func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Panicked == nil {
		o.Panicked = func() {}
	}
	o.LockWait = cmp.Or(o.LockWait, 10*time.Second)
	o.retry = cmp.Or(o.retry, indexRetry)
	o.patience = cmp.Or(o.patience, index.ClosePatience)
	o.way = cmp.Or(o.way, eviction.RoomPatience)
	o.save = cmp.Or(o.save, saveEvery)
	o.rest = cmp.Or(o.rest, life.RestFirst)
}
