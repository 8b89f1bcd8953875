package mirror

import (
	"context"

	"github.com/pullgate/pullgate/internal/oci"
)

// question is one thing that requests ask an upstream for, and share the answer to.
type question[T any] struct {
	key key
	// fallback says that an old answer is at hand: nobody waits long for a new one.
	fallback bool
	// have returns what others have brought by now; nil = nobody can.
	have func(context.Context) (T, bool)
	// ask asks the upstream, and stores the answer if it is worth it.
	ask func(context.Context) (value T, stored bool, err error)
	// failed notes a failure in place of the memory of failures.
	failed func(context.Context, error) error
}

// course is how a request came by an answer.
type course int

const (
	recalled course = iota // a failure that is remembered
	joined                 // with others, who had asked before
	led                    // it was the first to ask
)

// answer is what a question ended in.
type answer[T any] struct {
	value T
	// asked is false if the answer was here after all.
	asked, stored bool
	course        course
}

// status tells how the answer, or err in place of it, was come by.
func (a answer[T]) status(err error) oci.CacheStatus {
	switch {
	case err == nil:
		return answered(a.course == led && a.asked, a.stored)
	case a.course == recalled:
		return negative()
	}
	return failed(a.course == led, err)
}

// lookUp answers a question: with the failure that is remembered, with what others have
// brought meanwhile or are asking for, or by asking the upstream, whose failure is
// remembered then.
func lookUp[T any](ctx context.Context, v view, g *flights[T], q question[T]) (answer[T], error) {
	if e := v.remembered(q.key, q.fallback); e != nil {
		return answer[T]{}, e
	}
	return g.do(ctx, v, q.key, v.patience(q.fallback), func(ctx context.Context) (answer[T], error) { return q.answer(ctx, v) })
}

func (q question[T]) answer(ctx context.Context, v view) (answer[T], error) {
	if q.have != nil {
		if value, ok := q.have(ctx); ok {
			return answer[T]{value: value}, nil
		}
	}
	if e := v.remembered(q.key, q.fallback); e != nil {
		return answer[T]{}, e
	}
	return q.put(ctx, v)
}

// put asks the upstream, whatever is known.
func (q question[T]) put(ctx context.Context, v view) (answer[T], error) {
	value, stored, err := q.ask(ctx)
	switch {
	case err == nil:
		return answer[T]{value: value, asked: true, stored: stored}, nil
	case q.failed != nil:
		return answer[T]{}, q.failed(ctx, err)
	}
	return answer[T]{}, v.noteFailure(ctx, q.key, err, q.fallback)
}

// noteFailure remembers why there is no answer, and returns that with its class.
func (v view) noteFailure(ctx context.Context, k key, err error, fallback bool) error {
	err = v.classed(ctx, err)
	v.remember(k, err, fallback)
	return err
}
