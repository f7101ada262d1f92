// Asynq: a server, a client and an inspector in one process. Prints what became of each scenario.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

const patience = 30 * time.Second

// tally counts what ran, by kind of task.
type tally struct {
	sync.Mutex
	seen map[string][]string
}

func (t *tally) add(kind, what string) int {
	t.Lock()
	defer t.Unlock()
	t.seen[kind] = append(t.seen[kind], what)
	return len(t.seen[kind])
}

func (t *tally) of(kind string) []string {
	t.Lock()
	defer t.Unlock()
	return append([]string(nil), t.seen[kind]...)
}

func until(what string, right func() bool) error {
	for deadline := time.Now().Add(patience); !right(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("it never came: %s", what)
		}
	}
	return nil
}

type world struct {
	client    *asynq.Client
	inspector *asynq.Inspector
	ran       *tally
}

func task(kind, payload string, options ...asynq.Option) *asynq.Task {
	return asynq.NewTask(kind, []byte(payload), options...)
}

func (w world) handle(ctx context.Context, t *asynq.Task) error {
	count := w.ran.add(t.Type(), string(t.Payload()))
	switch t.Type() {
	case "flaky":
		if count < 3 {
			return fmt.Errorf("try %d", count)
		}
	case "hopeless":
		return fmt.Errorf("never: %w", asynq.SkipRetry)
	case "cancelled":
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := t.ResultWriter().Write([]byte("done " + string(t.Payload())))
	return err
}

func (w world) plain() error {
	for i := 0; i < 200; i++ {
		if _, err := w.client.Enqueue(task("plain", fmt.Sprint(i)), asynq.Retention(time.Hour), asynq.TaskID(fmt.Sprint("plain-", i))); err != nil {
			return err
		}
	}
	if err := until("200 tasks", func() bool { return len(w.ran.of("plain")) == 200 }); err != nil {
		return err
	}
	return until("a result", func() bool {
		info, err := w.inspector.GetTaskInfo("default", "plain-7")
		return err == nil && info.State == asynq.TaskStateCompleted && string(info.Result) == "done 7"
	})
}

func (w world) later() error {
	began := time.Now()
	if _, err := w.client.Enqueue(task("later", "x"), asynq.ProcessIn(1100*time.Millisecond)); err != nil {
		return err
	}
	if err := until("the scheduled task", func() bool { return len(w.ran.of("later")) == 1 }); err != nil {
		return err
	}
	if due := began.Add(1100 * time.Millisecond); time.Now().Unix() < due.Unix() { // Asynq knows whole seconds
		return fmt.Errorf("too early: %s", time.Since(began))
	}
	return nil
}

func (w world) retried() error {
	if _, err := w.client.Enqueue(task("flaky", "x"), asynq.MaxRetry(5)); err != nil {
		return err
	}
	return until("the third try", func() bool { return len(w.ran.of("flaky")) == 3 })
}

func (w world) archived() error {
	if _, err := w.client.Enqueue(task("hopeless", "x"), asynq.TaskID("hopeless-1")); err != nil {
		return err
	}
	if err := until("the archive", func() bool {
		found, err := w.inspector.ListArchivedTasks("default")
		return err == nil && slices.ContainsFunc(found, func(one *asynq.TaskInfo) bool {
			return one.ID == "hopeless-1" && strings.Contains(one.LastErr, "never")
		})
	}); err != nil {
		return err
	}
	if err := w.inspector.RunTask("default", "hopeless-1"); err != nil {
		return err
	}
	if err := until("the second failure", func() bool { return len(w.ran.of("hopeless")) == 2 }); err != nil {
		return err
	}
	return until("its removal", func() bool { return w.inspector.DeleteTask("default", "hopeless-1") == nil })
}

func (w world) unique() error {
	option := []asynq.Option{asynq.Unique(time.Hour), asynq.Queue("idle")}
	if _, err := w.client.Enqueue(task("unique", "x"), option...); err != nil {
		return err
	}
	if _, err := w.client.Enqueue(task("unique", "x"), option...); !errors.Is(err, asynq.ErrDuplicateTask) {
		return fmt.Errorf("a duplicate was answered by %v", err)
	}
	if _, err := w.client.Enqueue(task("unique", "y"), option...); err != nil {
		return err
	}
	info, err := w.inspector.GetQueueInfo("idle")
	if err != nil || info.Pending != 2 {
		return fmt.Errorf("queue %+v, %v", info, err)
	}
	if count, err := w.inspector.DeleteAllPendingTasks("idle"); err != nil || count != 2 {
		return fmt.Errorf("deleted %d, %v", count, err)
	}
	return w.inspector.DeleteQueue("idle", false)
}

func (w world) grouped() error {
	for i := 0; i < 5; i++ {
		if _, err := w.client.Enqueue(task("member", fmt.Sprint(i)), asynq.Group("g")); err != nil {
			return err
		}
	}
	return until("the aggregate", func() bool {
		found := w.ran.of("aggregate")
		return len(found) == 1 && found[0] == "0,1,2,3,4"
	})
}

func (w world) cancelled() error {
	info, err := w.client.Enqueue(task("cancelled", "x"), asynq.MaxRetry(0))
	if err != nil {
		return err
	}
	if err := until("its start", func() bool { return len(w.ran.of("cancelled")) == 1 }); err != nil {
		return err
	}
	if err := w.inspector.CancelProcessing(info.ID); err != nil {
		return err
	}
	return until("its end", func() bool {
		found, err := w.inspector.GetTaskInfo("default", info.ID)
		return err == nil && found.State == asynq.TaskStateArchived && strings.Contains(found.LastErr, "canceled")
	})
}

func (w world) paused() error {
	if err := w.inspector.PauseQueue("slow"); err != nil {
		return err
	}
	if _, err := w.client.Enqueue(task("paused", "x"), asynq.Queue("slow")); err != nil {
		return err
	}
	info, err := w.inspector.GetQueueInfo("slow")
	if err != nil || !info.Paused || info.Pending != 1 {
		return fmt.Errorf("queue %+v, %v", info, err)
	}
	if err := w.inspector.UnpauseQueue("slow"); err != nil {
		return err
	}
	return until("the task", func() bool { return len(w.ran.of("paused")) == 1 })
}

func main() {
	options, err := asynq.ParseRedisURI(os.Args[1])
	if err != nil {
		panic(err)
	}
	w := world{asynq.NewClient(options), asynq.NewInspector(options), &tally{seen: map[string][]string{}}}
	server := asynq.NewServer(options, asynq.Config{
		Concurrency: 8, Queues: map[string]int{"default": 3, "slow": 1}, LogLevel: asynq.ErrorLevel,
		DelayedTaskCheckInterval: 200 * time.Millisecond, TaskCheckInterval: 20 * time.Millisecond,
		RetryDelayFunc:   func(int, error, *asynq.Task) time.Duration { return 100 * time.Millisecond },
		GroupGracePeriod: time.Second, GroupMaxSize: 5,
		GroupAggregator: asynq.GroupAggregatorFunc(func(_ string, tasks []*asynq.Task) *asynq.Task {
			var parts []string
			for _, one := range tasks {
				parts = append(parts, string(one.Payload()))
			}
			slices.Sort(parts) // those of one second are in no order
			return task("aggregate", strings.Join(parts, ","))
		}),
	})
	if err := server.Start(asynq.HandlerFunc(w.handle)); err != nil {
		panic(err)
	}
	outcome := map[string]string{}
	var lock sync.Mutex
	var all sync.WaitGroup
	for name, scenario := range map[string]func() error{
		"plain": w.plain, "later": w.later, "retried": w.retried, "archived": w.archived, "unique": w.unique,
		"grouped": w.grouped, "cancelled": w.cancelled, "paused": w.paused,
	} {
		all.Add(1)
		go func() {
			defer all.Done()
			said := "ok"
			if err := scenario(); err != nil {
				said = err.Error()
			}
			lock.Lock()
			outcome[name] = said
			lock.Unlock()
		}()
	}
	all.Wait()
	server.Shutdown()
	text, _ := json.Marshal(outcome)
	fmt.Println(string(text))
}
