package storage

import (
	"context"
	"errors"
	"io/fs"
)

// errNothing is an fs.ErrNotExist that says so in other words.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string        { return "nothing of it is stored" }
func (nothing) Is(target error) bool { return target == fs.ErrNotExist }

// task calls fn, which takes long, within the life of the store: ctx ends when that
// ends, and the error is ErrClosed then. Close waits for it as for the house keeper.
func (s *Store) task(ctx context.Context, fn func(context.Context) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.tasks.Add(1)
	s.leave()
	defer s.tasks.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.life, func() { cancel(ErrClosed) })
	defer stop()
	err := fn(ctx)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}
