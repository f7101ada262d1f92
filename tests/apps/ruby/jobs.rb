# The jobs that Sidekiq's worker runs, and how it is set up: it looks for what is due five times a second.
require "sidekiq"

Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=)

module Told
  # Say that a job has run, where the client waits for it.
  def told(scenario, *what)
    Sidekiq.redis { |redis| redis.rpush("told:#{scenario}", Sidekiq.dump_json([Process.clock_gettime(Process::CLOCK_REALTIME), *what])) }
  end
end

class Note
  include Sidekiq::Worker
  include Told

  def perform(scenario, what)
    told(scenario, what)
  end
end

class Flaky
  include Sidekiq::Worker
  include Told
  sidekiq_options retry: 3, queue: "critical"

  def perform
    tries = Sidekiq.redis { |redis| redis.incr("tries:#{jid}") }
    raise "attempt #{tries}" if tries < 3

    told("retries", tries)
  end
end

class Hopeless
  include Sidekiq::Worker
  include Told
  sidekiq_options retry: 1
  sidekiq_retries_exhausted { |job, _| Sidekiq.redis { |redis| redis.rpush("told:dead", Sidekiq.dump_json([0, job["error_message"]])) } }

  def perform
    raise "hopeless"
  end
end

class Slow
  include Sidekiq::Worker
  include Told

  def perform
    told("busy", "began")
    Sidekiq.redis { |redis| redis.blpop("go on", timeout: 20) }
    told("busy", "ended")
  end
end

Sidekiq.configure_server do |config|
  options = config.respond_to?(:options) ? config.options : config
  options[:poll_interval_average] = 0.2
end
