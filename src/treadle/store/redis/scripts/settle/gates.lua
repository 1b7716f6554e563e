-- What settlements mean to gates: what attempts say of them, what their claims held, who wakes.

-- Let gates know what attempts say of them; of those that shut one the latest counts, whatever
-- their order.
local function tell(settled, freed)
  local shuts = {}
  for i = 1, #said, 2 do
    for _, word in ipairs(cjson.decode(said[i + 1])) do
      local why = type(word[4]) == 'string' and word[4] or ''
      if word[2] == 'shut' then
        shuts[#shuts + 1] = {word[1], word[3], why}
      else
        book().tell(word[1], word[2], why, said[i], freed)
      end
    end
  end
  for uses, ids in pairs(settled) do
    for _, use in ipairs(book().breakers(uses)) do
      for _, id in ipairs(ids) do
        if judged[id].state == 'succeeded' then
          book().tell(use.name, 'well', '', id, freed)
        end
      end
    end
  end
  for _, shut in ipairs(shuts) do
    book().shut(unpack(shut))
  end
end

-- Let go of what settled claims held of gates, and wake who waits for it. Most claims have the
-- same gates, so they are gone through by these.
local function let_go()
  local settled, freed, names = {}, {}, {}
  for _, id in ipairs(gated) do
    local uses = book().uses(judged[id][7])
    settled[uses] = settled[uses] or {}
    settled[uses][#settled[uses] + 1] = id
  end
  tell(settled, freed)
  for uses, ids in pairs(settled) do
    book().free(uses, ids, freed)
  end
  for _, id in ipairs(gated) do
    if judged[id].state == 'ready' then
      book().park_ready(id)
    end
  end
  for name in pairs(freed) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if book().wake(book().find(name)) > 0 then
      any_waits = true
    end
  end
end
