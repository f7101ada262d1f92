# What Sidekiq promises; prints what became of each scenario: "ok", or its error.
require "json"
require_relative "jobs"
require "sidekiq/api"

def assert_equal(wanted, got)
  raise "wanted #{wanted.inspect}, got #{got.inspect}" unless wanted == got
end

# The next so many reports of a scenario's jobs.
def wait(scenario, count = 1)
  Sidekiq.redis do |redis|
    Array.new(count) do
      _, text = redis.blpop("told:#{scenario}", timeout: 20)
      raise "no report of #{scenario}" if text.nil?
      JSON.parse(text)
    end
  end
end

# Until the block says so, for at most 20 seconds.
def wait_until
  limit = Time.now + 20
  until yield
    raise "it never came" if Time.now > limit
    sleep 0.02
  end
end

# The job when it waits for its next try.
def failed(jid)
  job = nil
  wait_until { job = Sidekiq::RetrySet.new.find_job(jid) }
  job
end

SCENARIOS = {
  "jobs" => lambda do
    20.times { |number| Note.perform_async("jobs", number) }
    assert_equal (0...20).to_a, wait("jobs", 20).map(&:last).sort
    Note.perform_bulk((20...1220).map { |number| ["jobs", number] })
    assert_equal (20...1220).to_a, wait("jobs", 1200).map(&:last).sort
    assert_equal 0, Sidekiq::Queue.new.size
  end,
  "scheduled" => lambda do
    began = Time.now.to_f
    Note.perform_in(0.6, "scheduled", "later")
    Note.perform_at(Time.now + 0.2, "scheduled", "soon")
    kept = Note.perform_in(3600, "scheduled", "in an hour")
    Note.perform_in(3600, "scheduled", "never").then { |jid| Sidekiq::ScheduledSet.new.find_job(jid).delete }
    soon, later = wait("scheduled", 2)
    soon, later = later, soon if later.last == "soon" # two threads of the worker may tell in either order
    assert_equal ["soon", "later"], [soon.last, later.last]
    raise "too early" if soon.first < began + 0.2 || later.first < began + 0.6
    set = Sidekiq::ScheduledSet.new
    assert_equal [kept], set.map(&:jid)
    set.find_job(kept).add_to_queue
    assert_equal "in an hour", wait("scheduled").first.last
    assert_equal 0, set.size
  end,
  "retries" => lambda do
    # Sidekiq would wait for many seconds: what failed is sent back at once, as the button of its web page does.
    jid = Flaky.perform_async
    ["attempt 1", "attempt 2"].each_with_index do |message, count|
      job = failed(jid)
      assert_equal [message, count], [job["error_message"], job["retry_count"]]
      job.add_to_queue
    end
    assert_equal 3, wait("retries").first.last
    assert_equal nil, Sidekiq::RetrySet.new.find_job(jid)
  end,
  "dead" => lambda do
    jid = Hopeless.perform_async
    failed(jid).add_to_queue
    assert_equal "hopeless", wait("dead").first.last
    wait_until { Sidekiq::DeadSet.new.find_job(jid) }
    job = Sidekiq::DeadSet.new.find_job(jid)
    assert_equal ["RuntimeError", 1], [job["error_class"], job["retry_count"]]
    job.delete
    assert_equal 0, Sidekiq::DeadSet.new.size
  end,
  "busy" => lambda do
    Slow.perform_async
    wait("busy")
    wait_until { Sidekiq::ProcessSet.new.size == 1 && Sidekiq::ProcessSet.new.first["concurrency"] == 4 }
    Sidekiq.redis { |redis| redis.rpush("go on", 1) }
    assert_equal "ended", wait("busy").first.last
  end,
  "queues" => lambda do
    # Of a queue that nobody works on.
    3.times { |number| Note.set(queue: "idle").perform_async("queues", number) }
    queue = Sidekiq::Queue.new("idle")
    assert_equal [3, [2, 1, 0]], [queue.size, queue.map { |job| job.args.last }]
    queue.find_job(queue.first.jid).delete
    assert_equal 2, queue.size
    assert_equal true, Sidekiq::Queue.all.map(&:name).include?("idle")
    queue.clear
    assert_equal 0, queue.size
  end,
}.freeze

outcome = SCENARIOS.map do |name, scenario|
  Thread.new do
    scenario.call
    [name, "ok"]
  rescue StandardError => e
    [name, ([e.full_message(highlight: false)] + e.backtrace).join("\n")]
  end
end.to_h(&:value)
puts JSON.generate(outcome)
