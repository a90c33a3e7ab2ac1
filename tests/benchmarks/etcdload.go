// A closed loop of clients against an etcd cluster: puts of 16 bytes, or linearizable gets, over a number of keys.
// Connections go to the leader, as those of txraft do, or are spread over all nodes. Prints one line of JSON.
//
// Built by side_by_side.py with Debian's packages golang-go and golang-etcd-server-dev:
// GOPATH=/usr/share/gocode GO111MODULE=off go build -o etcdload etcdload.go
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

type figures struct {
	Operation string         `json:"operation"`
	Done      int            `json:"done"`
	Rate      float64        `json:"rate"`
	P50       float64        `json:"p50_ms"`
	P99       float64        `json:"p99_ms"`
	Max       float64        `json:"max_ms"`
	Errors    map[string]int `json:"errors"`
}

// What one client has seen; each has its own, so that none waits for another.
type seen struct {
	latencies []time.Duration
	errors    map[string]int
}

func leaderOf(endpoints []string) string {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second})
	exitOn(err)
	defer client.Close()
	for _, endpoint := range endpoints {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		status, err := client.Status(ctx, endpoint)
		cancel()
		exitOn(err)
		if status.Leader == status.Header.MemberId {
			return endpoint
		}
	}
	exitOn(fmt.Errorf("no endpoint leads"))
	return ""
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdload:", err)
		os.Exit(1)
	}
}

func loop(client *clientv3.Client, number, keys int, get bool, stop time.Time) seen {
	result := seen{errors: map[string]int{}}
	value := strings.Repeat("x", 16)
	for step := number * 7919; time.Now().Before(stop); step++ {
		key := fmt.Sprintf("bench-%d", step%keys)
		begin := time.Now()
		var err error
		if get {
			_, err = client.Get(context.Background(), key)
		} else {
			_, err = client.Put(context.Background(), key, value)
		}
		if err != nil {
			result.errors[err.Error()]++
		} else {
			result.latencies = append(result.latencies, time.Since(begin))
		}
	}
	return result
}

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "of all nodes, separated by commas")
	clients := flag.Int("clients", 64, "each waits for its answer")
	connections := flag.Int("connections", 8, "that they share")
	seconds := flag.Float64("seconds", 10, "")
	keys := flag.Int("keys", 1000, "")
	operation := flag.String("operation", "add", "add (a put) or get")
	target := flag.String("target", "leader", "leader, or all: etcd's client then takes the nodes in turn")
	flag.Parse()

	targets := strings.Split(*endpoints, ",")
	if *target == "leader" {
		targets = []string{leaderOf(targets)}
	}
	connected := make([]*clientv3.Client, *connections)
	for number := range connected {
		client, err := clientv3.New(clientv3.Config{Endpoints: targets, DialTimeout: 5 * time.Second})
		exitOn(err)
		_, err = client.Put(context.Background(), "bench-0", "")
		exitOn(err)
		connected[number] = client
	}

	begin := time.Now()
	stop := begin.Add(time.Duration(*seconds * float64(time.Second)))
	results := make([]seen, *clients)
	var all sync.WaitGroup
	for number := range results {
		all.Add(1)
		go func(number int) {
			defer all.Done()
			results[number] = loop(connected[number%len(connected)], number, *keys, *operation == "get", stop)
		}(number)
	}
	all.Wait()
	elapsed := time.Since(begin).Seconds()

	told := figures{Operation: *operation, Errors: map[string]int{}}
	var latencies []time.Duration
	for _, result := range results {
		latencies = append(latencies, result.latencies...)
		for text, count := range result.errors {
			told.Errors[text] += count
		}
	}
	sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
	quantile := func(part float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return float64(latencies[int(part*float64(len(latencies)-1))].Microseconds()) / 1000
	}
	told.Done, told.Rate = len(latencies), float64(len(latencies))/elapsed
	told.P50, told.P99, told.Max = quantile(.5), quantile(.99), quantile(1)
	exitOn(json.NewEncoder(os.Stdout).Encode(told))
}
