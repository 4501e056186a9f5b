(() => {
  const box = document.getElementById("search");
  const input = document.getElementById("wanted");
  const shown = document.getElementById("shown");
  const all = [...document.querySelectorAll(".transcript, .excerpts li")];
  const texts = all.map((each) => each.textContent.toLowerCase());
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    all.forEach((each, index) => {
      const found = words.every((word) => texts[index].includes(word));
      each.hidden = !found;
      count += found;
    });
    shown.textContent = `${count} of ${all.length}`;
  };
  input.addEventListener("input", filter);
  box.hidden = false;
  filter();
})();
