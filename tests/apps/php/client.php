<?php
// The client itself: scripts, pipelines, transactions, a lock, streams, scans. Prints what became of each.
function same($wanted, $got): void
{
    if ($wanted !== $got) {
        throw new Exception('wanted ' . var_export($wanted, true) . ', got ' . var_export($got, true));
    }
}

function open(): Redis
{
    $redis = new Redis();
    $redis->connect(parse_url($GLOBALS['argv'][1], PHP_URL_HOST), parse_url($GLOBALS['argv'][1], PHP_URL_PORT), 10);
    return $redis;
}

$scenarios = [
    'scripts' => function () {
        $redis = open();
        $text = "return {redis.call('INCRBY', KEYS[1], ARGV[1]), ARGV[1], {ok='fine'}, false, 3.9}";
        same([5, '5', true, false, 3], $redis->eval($text, ['php:n', '5'], 1));
        same([10, '5', true, false, 3], $redis->evalSha(sha1($text), ['php:n', '5'], 1));
        same([1, 0], $redis->script('exists', sha1($text), sha1('none')));
        same(false, $redis->evalSha(sha1('none')));
        same('NOSCRIPT No matching script.', explode(' Please', $redis->getLastError())[0]);
        $redis->clearLastError();
        same(sha1('return 7'), $redis->script('load', 'return 7'));
        same(7, $redis->evalSha(sha1('return 7')));
    },
    'serialized' => function () {
        $redis = open();
        $redis->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_IGBINARY);
        $value = ['a' => 1, 'b' => [true, null, 2.5], 'c' => "\r\n\0"];
        same(true, $redis->set('php:value', $value, ['nx', 'ex' => 100]));
        same(false, $redis->set('php:value', 'other', ['nx', 'ex' => 100]));
        same($value, $redis->get('php:value'));
        same(true, $redis->hMSet('php:h', ['x' => $value, 'y' => 'z']));
        same(['x' => $value, 'y' => 'z'], $redis->hGetAll('php:h'));
    },
    'pipelines' => function () {
        $redis = open();
        $pipe = $redis->pipeline();
        for ($i = 0; $i < 1000; $i++) {
            $pipe->rPush('php:l', "v$i");
        }
        same(range(1, 1000), $pipe->exec());
        same([true, 'v', 1, ['v0', 'v1']], $redis->multi()->set('php:a', 'v')->get('php:a')->del('php:a')->lRange('php:l', 0, 1)->exec());
        $other = open();
        $redis->watch('php:l');
        $other->lPop('php:l');
        same(false, $redis->multi()->lPop('php:l')->exec());
    },
    'streams' => function () {
        $redis = open();
        $id = $redis->xAdd('php:x', '*', ['task' => 'mail']);
        same(true, $redis->xGroup('CREATE', 'php:x', 'g', '0'));
        same(['php:x' => [$id => ['task' => 'mail']]], $redis->xReadGroup('g', 'c', ['php:x' => '>'], 1));
        same(1, $redis->xPending('php:x', 'g')[0]);
        same(1, $redis->xAck('php:x', 'g', [$id]));
        same([$id => ['task' => 'mail']], $redis->xRange('php:x', '-', '+'));
    },
    'scans' => function () {
        $redis = open();
        $redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
        for ($i = 0; $i < 300; $i++) {
            $redis->sAdd('php:s', "m$i");
            $redis->zAdd('php:z', $i, "m$i");
        }
        $found = [];
        $cursor = null;
        while (($part = $redis->sScan('php:s', $cursor, '*', 50)) !== false) {
            $found = array_merge($found, $part);
        }
        same(300, count(array_unique($found)));
        same(['m298' => 298.0, 'm299' => 299.0], $redis->zRange('php:z', -2, -1, true));
        same(['m1' => 1.0, 'm0' => 0.0], $redis->zRevRangeByScore('php:z', '1', '-inf', ['withscores' => true]));
    },
    'geo and bits' => function () {
        $redis = open();
        same(2, $redis->geoAdd('php:geo', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania'));
        same(166.2742, $redis->geoDist('php:geo', 'Palermo', 'Catania', 'km'));
        same(0, $redis->setBit('php:bits', 7, true));
        same(1, $redis->bitCount('php:bits'));
        same(1, $redis->pfAdd('php:hll', ['a', 'b']));
        same(2, $redis->pfCount('php:hll'));
    },
];

$outcome = [];
foreach ($scenarios as $name => $scenario) {
    try {
        $scenario();
        $outcome[$name] = 'ok';
    } catch (Throwable $error) {
        $outcome[$name] = (string) $error;
    }
}
echo json_encode($outcome), "\n";
