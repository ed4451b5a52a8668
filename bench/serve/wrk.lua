-- One-image requests for wrk, a load generator that is not ours: 32x32 pixels as binary data, as
-- load.cpp sends them. wrk counts 503 as an error and has the latencies of all answers.
--
--   wrk --threads 1 --connections 32 --duration 20s --latency --script bench/serve/wrk.lua \
--     http://127.0.0.1:8000/v2/models/cifar10-3-exits/infer

local bodies = {}
local size = 32 * 32 * 3
local json = '{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,32,32,3],' ..
  '"parameters":{"binary_data_size":' .. size .. '}}],' ..
  '"outputs":[{"name":"class_index","parameters":{"binary_data":true}}]}'

function init()
  math.randomseed(1)
  for image = 1, 64 do
    -- Noise around one colour: noise alone would be unlike any image.
    local base = math.random(0, 199)
    local pixels = {}
    for i = 1, size do pixels[i] = string.char(base + math.random(0, 55)) end
    bodies[image] = json .. table.concat(pixels)
  end
  wrk.method = "POST"
  wrk.headers["Inference-Header-Content-Length"] = #json
end

local sent = 0
function request()
  sent = sent + 1
  return wrk.format(nil, nil, nil, bodies[sent % #bodies + 1])
end
